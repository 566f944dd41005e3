import type { Distribution } from './distribution.ts';
import type { ConfigRead } from './read-config.ts';

/** All that is known of a node when it is judged: plain data, gathered by `gatherEvidence` or written down in a test. */
export interface NodeEvidence {
  /** What containerd says its version is; undefined when it does not answer. */
  readonly version: string | undefined;
  /** Why containerd does not answer. */
  readonly unreachable: string | undefined;
  /** Sockets of containerd on this node, other than the one that was asked. */
  readonly otherSockets: readonly string[];
  readonly configFile: string;
  readonly config: ConfigRead;
  /** The folder into which the mirror's hosts.toml files are written. */
  readonly certsDir: string;
  readonly distribution: Distribution;
  /** What the running containerd says of its settings; each is undefined where it does not. */
  readonly running: RunningSettings;
  /** A part of the CRI plugin that did not load. */
  readonly failedPlugin: { readonly name: string; readonly failure: string } | undefined;
  readonly probe: ProbeOutcome;
  /** The image that was pulled last; undefined when there is none, or it could not be told. */
  readonly newestImage: NewestImage | undefined;
}

export interface RunningSettings {
  /** CRI's verbose status tells them up to 1.7, introspection since 2.4. */
  readonly source: 'status' | 'introspection';
  readonly configPath: string | undefined;
  readonly discardUnpackedLayers: boolean | undefined;
  readonly snapshotter: string | undefined;
}

/**
 * `reached`: containerd asked where a hosts.toml of ours told it to. `not-reached`: it pulled and did not ask. `failed`: it
 * could not be tried, or did not end; `why` says it. `not-run`: nobody wanted it tried.
 */
export type ProbeOutcome =
  | { readonly kind: 'reached' | 'not-reached' | 'not-run' }
  | { readonly kind: 'failed'; readonly why: string };

/** Whether the layers of an image are in containerd's content store. */
export interface NewestImage {
  readonly manifest: string;
  readonly createdAtMs: number;
  readonly hasLayers: boolean;
}
