/** Nodes of a lab's apiserver that nothing runs on, and something that answers like their mirrors. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeCall } from '../lab/cluster/kube-call.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';

const MIRROR_LABELS = { 'app.kubernetes.io/name': 'miroir', 'app.kubernetes.io/component': 'mirror' };
const MERGE = { contentType: 'application/merge-patch+json' };
/** As many as addresses are told apart by. */
const MIRRORS_MAX = 1024;

/** What the mirror of a node says. `silent` accepts connections and says nothing. */
export type Says = 'compatible' | 'incompatible' | 'unknown' | 'silent';

export interface FakeMirror {
  say(word: Says): void;
  /** Takes the pod away, as when the DaemonSet no longer wants the node. */
  remove(): Promise<void>;
}

export interface Mirrors {
  readonly port: number;
  /** Puts a mirror on a node. */
  add(node: string, says: Says): Promise<FakeMirror>;
}

/** Real HTTP servers, each on an address of its own, that tell verdicts. There is no containerd behind them. */
export async function createMirrors(
  t: Pick<TestContext, 'after'>,
  call: KubeCall,
  namespace: string,
): Promise<Mirrors> {
  let count = 0;
  let port = 0;

  /** All have one port, which is free on addresses that only this process uses. */
  async function listen(answer: http.RequestListener): Promise<string> {
    assert.ok(count < MIRRORS_MAX);
    const address = addressOf(count++);
    const server = http.createServer(answer);
    await once(server.listen(port, address), 'listening');
    port = (server.address() as { port: number }).port;
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return address;
  }

  await listen((_request, response) => response.end());
  return {
    port,
    add: async (node, says) => {
      let word = says;
      const hostIP = await listen((_request, response) => {
        if (word !== 'silent') response.end(JSON.stringify(verdict(word)));
      });
      const pods = `/api/v1/namespaces/${namespace}/pods`;
      const name = `mirror-${node}`;
      const created = await call('POST', pods, {
        metadata: { name, labels: MIRROR_LABELS },
        spec: {
          nodeName: node,
          containers: [{ name: 'mirror', image: 'registry.example/miroir:v1' }],
          tolerations: [{ operator: 'Exists' }],
          terminationGracePeriodSeconds: 0,
        },
      });
      assert.equal(created.status, 201, JSON.stringify(created.body));
      const status = { phase: 'Running', hostIP, hostIPs: [{ ip: hostIP }] };
      const patched = await call('PATCH', `${pods}/${name}/status`, { status }, MERGE);
      assert.equal(patched.status, 200, JSON.stringify(patched.body));
      return {
        say: (next) => {
          word = next;
        },
        remove: async () => void (await call('DELETE', `${pods}/${name}?gracePeriodSeconds=0`)),
      };
    },
  };
}

/** Of this process: not those of control planes, whose second number is below 128. */
function addressOf(index: number): string {
  const { pid } = process;
  return `127.${128 | (index >> 3)}.${(pid >> 5) & 255}.${((pid & 31) << 3) | (index & 7)}`;
}

/** As the mirror answers it. */
function verdict(result: Exclude<Says, 'silent'>): object {
  const code = result === 'incompatible' ? 'config-path-empty' : 'path-unproven';
  const reason = { code, weighs: result, sentence: 'so it is', evidence: [], fix: 'mend it' };
  return { result, containerd: 'v2.4.2', reasons: result === 'compatible' ? [] : [reason] };
}

export interface NodeObject {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly status: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}

export async function readNodes(call: KubeCall): Promise<ReadonlyMap<string, NodeObject>> {
  const { body } = await call<KubeList<NodeObject>>('GET', '/api/v1/nodes');
  return new Map(body.items.map((node) => [node.metadata.name, node]));
}

/** What the nodes are labelled, `-` for nothing: `n1=compatible n2=-`. */
export async function labels(call: KubeCall): Promise<string> {
  const nodes = [...(await readNodes(call)).values()];
  return nodes.map(({ metadata }) => `${metadata.name}=${metadata.labels?.['miroir.dev/containerd'] ?? '-'}`).join(' ');
}

/** One figure of a process's metrics; undefined when it cannot be had. */
export async function readMetric(health: string, series: string): Promise<number | undefined> {
  const text = await fetch(`http://${health}/metrics`).then(
    (response) => response.text(),
    () => '',
  );
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

/** Holds that something stays true for a while: there is nothing to wait for when nothing is to happen. */
export async function stays(isTrue: () => Promise<boolean>, forMs: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + forMs;
  while (performance.now() < until) {
    assert.ok(await isTrue());
    await delay(50, undefined, { signal });
  }
}
