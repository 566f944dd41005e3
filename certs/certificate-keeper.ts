import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../common/errors.ts';
import { type Component, createLoop } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import { type CertificateAndKey, createAuthority, issueLeaf } from './authority.ts';
import { formatBundle, readBundle } from './bundle.ts';
import { type Authorities, decideRotation, type RotationStep, type RotationTimes } from './rotation.ts';
import {
  formatAuthorities,
  parseAuthorities,
  type SecretTexts,
  type StoredAuthority,
  viewAuthority,
} from './stored-authorities.ts';

/** Where the authorities are kept, for all replicas. */
export interface SecretStore {
  /** Undefined when there is no Secret. */
  read(signal: AbortSignal): Promise<KeptSecret | undefined>;
  /** Throws ERR_KUBE_CONFLICT when the Secret is no longer of that version; undefined is that there is none. */
  write(texts: SecretTexts, version: string | undefined, signal: AbortSignal): Promise<void>;
}

export interface KeptSecret {
  readonly texts: SecretTexts;
  readonly version: string;
  /** Somebody asks for a new authority. Gone with the next write. */
  readonly isRotationAsked: boolean;
}

/** Where the apiserver reads whom to trust. */
export interface TrustStore {
  /** The bundle of each webhook, by name; undefined when there is no configuration. */
  read(
    signal: AbortSignal,
  ): Promise<{ readonly bundles: ReadonlyMap<string, string>; readonly version: string } | undefined>;
  /** The same for all. Throws ERR_KUBE_CONFLICT when the configuration is no longer of that version. */
  write(names: Iterable<string>, bundle: string, version: string, signal: AbortSignal): Promise<void>;
}

export interface CertificateKeeperDeps {
  readonly secret: SecretStore;
  readonly trust: TrustStore;
  readonly now: () => Date;
  readonly log: Logger;
  /** Shows the leaf from now on. */
  readonly use: (leaf: CertificateAndKey, expires: Date) => void;
  readonly metrics: { rotated(step: RotationStep['do']): void };
}

export interface CertificateKeeperOptions {
  readonly dnsNames: readonly string[];
  readonly times: RotationTimes;
  /** Between two looks at what others did. */
  readonly intervalMs: number;
}

/** More steps in a row than a rotation has would be two replicas that undo each other's: time lets one of them be first. */
const STEPS_MAX = 12;
/** Clocks differ: what is issued now has to be valid for those that are behind. */
const BACKDATE_MS = 3_600_000;
const AUTHORITY_NAME = 'miroir webhook authority';

interface Look {
  readonly secret: KeptSecret | undefined;
  readonly authorities: Authorities<StoredAuthority> | undefined;
  readonly trust: Awaited<ReturnType<TrustStore['read']>>;
}

/**
 * Keeps a certificate that the apiserver trusts. The authority is shared by all replicas, the leaf is each one's own and
 * stays in memory. Nothing that fails ends it: the certificate stays what it is, and it looks again.
 */
export function createCertificateKeeper(deps: CertificateKeeperDeps, options: CertificateKeeperOptions): Component {
  const { now, log } = deps;
  const { times } = options;
  let leaf: { authority: string; expires: Date } | undefined;
  /** What to put back when somebody deletes the Secret or breaks it: trust in it is there already. */
  let remembered: Authorities<StoredAuthority> | undefined;

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await settle(signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn('Certificates could not be looked after', { error });
      });
      await delay(options.intervalMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Steps until there is nothing to do. */
  async function settle(signal: AbortSignal): Promise<void> {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      const look = await lookAround(signal);
      const step = decideRotation(
        {
          authorities: look.authorities,
          isAsked: look.secret?.isRotationAsked ?? false,
          trusted: look.trust && [...look.trust.bundles.values()].map(readBundle),
          leaf,
        },
        times,
        now(),
      );
      remembered = look.authorities ?? remembered;
      if (step.do === 'rest') return;
      try {
        await perform(step, look, signal);
      } catch (error) {
        // Another replica was faster, or somebody deleted what was to be changed: look again.
        if (!hasCode(error, 'ERR_KUBE_CONFLICT') && !hasCode(error, 'ERR_KUBE_NOT_FOUND')) throw error;
        continue;
      }
      log.info('Certificates changed', { step: step.do });
      deps.metrics.rotated(step.do);
    }
  }

  /** The configuration first: a bundle that is written goes with a Secret that was read after it. */
  async function lookAround(signal: AbortSignal): Promise<Look> {
    const trust = await deps.trust.read(signal);
    const secret = await deps.secret.read(signal);
    return { trust, secret, authorities: secret && parseAuthorities(secret.texts) };
  }

  async function perform(step: RotationStep, look: Look, signal: AbortSignal): Promise<void> {
    const write = (next: Authorities<StoredAuthority>) =>
      deps.secret.write(formatAuthorities(next), look.secret?.version, signal);
    const { authorities } = look;
    if (authorities === undefined || step.do === 'create-authority') return write(await firstAuthorities());
    const { current, next, previous } = authorities;
    switch (step.do) {
      case 'add-next':
        return write({ current, next: { authority: await newAuthority(), published: undefined }, previous });
      case 'confirm-next':
        return write({ current, next: next && { ...next, published: now() }, previous });
      case 'promote-next':
        return write({
          current: next?.authority ?? current,
          previous: { authority: current, retired: now() },
        });
      case 'drop-previous':
        return write({ current, next });
      case 'issue-leaf':
        return useNewLeaf(current);
      case 'publish': {
        const all = [current, next?.authority, previous?.authority].filter((one) => one !== undefined);
        const { bundles, version } = look.trust as NonNullable<Look['trust']>;
        return deps.trust.write(
          bundles.keys(),
          formatBundle(all.map(({ certificate }) => certificate)),
          version,
          signal,
        );
      }
      case 'rest':
        return;
    }
  }

  async function firstAuthorities(): Promise<Authorities<StoredAuthority>> {
    if (remembered && remembered.current.expires > now()) return remembered;
    return { current: await newAuthority() };
  }

  async function newAuthority(): Promise<StoredAuthority> {
    return viewAuthority(await createAuthority(AUTHORITY_NAME, validity(times.authorityMs)));
  }

  async function useNewLeaf(authority: StoredAuthority): Promise<void> {
    const { from, to } = validity(times.leafMs);
    const expires = to < authority.expires ? to : authority.expires;
    const issued = await issueLeaf(authority, options.dnsNames, { from, to: expires });
    deps.use(issued, expires);
    leaf = { authority: authority.id, expires };
  }

  function validity(lifeMs: number) {
    return { from: new Date(now().getTime() - BACKDATE_MS), to: new Date(now().getTime() + lifeMs) };
  }

  return createLoop(run);
}
