import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';
import { type Program, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { MIROIR, READY_URL } from '../lab/node-mirror.ts';
import { createPodTokens, type PodTokens } from '../lab/pod-tokens.ts';

/** As the guide says it. */
const REGISTRIES_CONF = `
[[registry]]
prefix = "upstream.lab:5000"
location = "upstream.lab:5000"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:29981/upstream.lab_5000"
insecure = true
`;

export interface PullOptions {
  readonly by?: 'buildah' | 'podman';
  readonly env?: Readonly<Record<string, string>>;
}

export interface Pod {
  readonly lab: Lab;
  /** Its network. */
  readonly pod: LabNode;
  /** Holds the image. */
  readonly holder: LabNode;
  /** The node whose mirror the pod asks. */
  readonly node: LabNode;
  readonly startAgent: (flags?: readonly string[]) => Promise<Program>;
  readonly tokens: PodTokens;
  readonly startMirror: () => Promise<Program>;
  readonly useToken: (token: string) => void;
  /** Pulls by buildah, or another program of its kin, into a storage that is empty. */
  readonly pull: (reference: string, options?: PullOptions) => Promise<void>;
  readonly metric: (node: LabNode, line: RegExp) => Promise<number>;
}

/** Two nodes with mirrors, and a network of its own for a pod. */
export async function startPod(t: TestContext, signal: AbortSignal): Promise<Pod> {
  const lab = await createLab({ nodes: ['2.4', '2.4', '1.6.20'].map((containerd) => ({ containerd })) }, signal);
  t.after(() => lab.down());
  const [holder, node, pod] = lab.nodes;
  assert.ok(holder && node && pod);
  const tokens = await createPodTokens();
  const file = (name: string) => path.join(lab.folder, name);
  fs.writeFileSync(file('keys.json'), tokens.keysFile);
  fs.writeFileSync(file('registries.conf'), REGISTRIES_CONF);
  const useToken = (token: string) => fs.writeFileSync(file('token'), `${token}\n`);
  useToken(await tokens.sign({ node: node.name }));
  // A mirror asks a registry where its node's containerd would: who may read there is served here.
  await Promise.all([holder.configure(), node.configure()]);
  const startMirror = () =>
    node.startMirror([
      '--pod-address=0.0.0.0:29986',
      `--pod-token-keys-file=${file('keys.json')}`,
      `--node-name=${node.name}`,
    ]);
  await Promise.all([holder.startMirror(), startMirror()]);
  // Of a short name, as Podman wants it.
  const storages = fs.mkdtempSync(path.join(os.tmpdir(), 'pod-'));
  t.after(() => fs.rmSync(storages, { recursive: true }));
  let storageCount = 0;
  return {
    lab,
    pod,
    holder,
    node,
    tokens,
    startMirror,
    useToken,
    startAgent: async (flags = []) => {
      const own = [`--mirror-host=${node.address}`, `--pod-token-file=${file('token')}`, '--wait-for-mirror=30s'];
      const registry = `--registries=${lab.upstream.host}=http://${lab.upstream.host}`;
      const agent = pod.start('agent', [...MIROIR, 'agent', ...own, registry, ...flags]);
      const isReady = () => {
        assert.ok(agent.isRunning(), agent.logTail());
        return pod.fetch(READY_URL).then(
          ({ status }) => status === 200,
          () => false,
        );
      };
      await until(isReady, signal, () => agent.logTail());
      return agent;
    },
    pull: async (reference, { by = 'buildah', env: more = {} } = {}) => {
      const storage = path.join(storages, String(storageCount++));
      const own = [`--root=${storage}/root`, `--runroot=${storage}/run`, '--storage-driver=vfs'];
      const env = { CONTAINERS_REGISTRIES_CONF: file('registries.conf'), TMPDIR: lab.folder, ...more };
      await pod.exec([by, ...own, 'pull', '--quiet', reference], { env }, signal);
    },
    metric: async (from, line) => {
      const { body } = await from.fetch('http://127.0.0.1:29984/metrics');
      return Number(line.exec(body)?.[1] ?? assert.fail(`there is no ${line}`));
    },
  };
}
