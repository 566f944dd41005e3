/** Configurations of containerd as distributions ship them, and mended. */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import { parseContainerdVersion } from '../containerd/verdict/containerd-version.ts';
import type { Distribution } from '../containerd/verdict/distribution.ts';
import type { NodeEvidence } from '../containerd/verdict/evidence.ts';
import { readConfig } from '../containerd/verdict/read-config.ts';
import type { ReasonCode, VerdictResult } from '../containerd/verdict/verdict.ts';

const FOLDER = path.join(import.meta.dirname, 'fixtures/containerd');

export interface Expected {
  readonly result: VerdictResult;
  readonly codes: readonly ReasonCode[];
}

/** The folders `shipped` and `fixed` beside its fixture.json are what a node has below `/`. */
export interface ContainerdFixture {
  readonly name: string;
  readonly title: string;
  readonly distribution: Distribution;
  /** containerd's, as it tells it. */
  readonly version: string;
  readonly socket?: string;
  readonly configFile?: string;
  /** Where the mirror's files go once mended, when that is another folder than the usual one. */
  readonly fixedCertsDir?: string;
  /** Where the files are from; a project is named by its repository and path. */
  readonly source: string;
  /** What to do, where it is no setting. */
  readonly remedy?: string;
  readonly shipped: Expected;
  readonly fixed?: Expected;
}

export async function loadContainerdFixtures(): Promise<readonly ContainerdFixture[]> {
  const names = (await fs.readdir(FOLDER)).sort();
  assert.ok(names.length > 0, 'no fixtures were found');
  return Promise.all(
    names.map(async (name) => {
      const text = await fs.readFile(path.join(FOLDER, name, 'fixture.json'), 'utf8');
      return { name, ...(JSON.parse(text) as Omit<ContainerdFixture, 'name'>) };
    }),
  );
}

/** What is known of such a node by its files alone. */
export async function evidenceOf(fixture: ContainerdFixture, tree: 'shipped' | 'fixed'): Promise<NodeEvidence> {
  const configFile = fixture.configFile ?? '/etc/containerd/config.toml';
  const root = path.join(FOLDER, fixture.name, tree);
  const usual = '/etc/containerd/certs.d';
  return {
    version: fixture.version,
    unreachable: undefined,
    otherSockets: [],
    configFile,
    config: await readConfig(configFile, parseContainerdVersion(fixture.version), root),
    certsDir: tree === 'fixed' ? (fixture.fixedCertsDir ?? usual) : usual,
    distribution: fixture.distribution,
    running: { source: 'status', configPath: undefined, discardUnpackedLayers: undefined, snapshotter: undefined },
    failedPlugin: undefined,
    probe: { kind: 'not-run' },
    newestImage: undefined,
  };
}
