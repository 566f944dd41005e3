/** The webhook as it is shipped: how long a review takes over kept connections, and its memory in a large cluster. */
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { eachAtOnce } from '../../webhook/gate/each-at-once.ts';
import {
  createWebhookCluster,
  SERVICE,
  STRANGER,
  TEAM,
  WEBHOOK_PORT,
  type WebhookCluster,
} from '../integration/webhook-cluster.ts';
import { atMost, type BenchOptions, type BenchResult, median, percentile, rounded } from './bench.ts';
import { cpuSeconds, processMemory } from './contestants/process.ts';

const BUILT = path.join(import.meta.dirname, '..', '..', 'dist', 'miroir');
const NODES = 5_000;
const PODS = 20_000;
/** Of the apiserver, which has to be filled first. */
const CREATIONS_AT_ONCE = 64;
const REVIEWS_PER_SECOND = 200;
const WARM_SECONDS = 3;
const SECONDS = 10;
/** As many as an apiserver keeps; a few are in use at a time. */
const CONNECTIONS = 8;
const LARGE_BYTES = 50 * 1024;
/** What the lists have left behind is collected by then. */
const REST_MS = 10_000;

const SMALL_P99_MS_MAX = 5;
const LARGE_P99_MS_MAX = 15;
const MEGABYTES_MAX = 160;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  if (!fs.existsSync(BUILT)) throw new Error('dist/miroir is missing: npm run build');
  const closing: (() => unknown)[] = [];
  const after = (close: () => unknown) => void closing.push(close);
  try {
    const cluster = await createWebhookCluster({ signal, after }, { program: [BUILT] });
    await fill(cluster, progress);
    const webhook = await cluster.startWebhook();
    const pid = () => webhook.pid() as number;
    const figures = processMemory(pid);
    await delay(REST_MS, undefined, { signal });
    const restMegabytes = figures.rssMegabytes();
    figures.peakRssMegabytes();
    const agent = new https.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
    after(() => agent.destroy());
    const rows = [];
    const limits = [];
    for (const { name, podBytes, p99Max } of [
      { name: 'small pod', podBytes: 0, p99Max: SMALL_P99_MS_MAX },
      { name: '50 KB pod', podBytes: LARGE_BYTES, p99Max: LARGE_P99_MS_MAX },
    ]) {
      const body = review(podBytes);
      await load(cluster, agent, body, WARM_SECONDS, signal);
      const cpuBefore = cpuSeconds(pid());
      const times = await load(cluster, agent, body, SECONDS, signal);
      const cpu = cpuSeconds(pid()) - cpuBefore;
      const p99 = percentile(times, 99);
      rows.push({
        name,
        p50: rounded(median(times)),
        p99: rounded(p99),
        max: rounded(Math.max(...times)),
        'CPU %': rounded((cpu / SECONDS) * 100),
      });
      limits.push(atMost(`p99 ms of a ${name}`, p99, p99Max));
      progress(`${name} measured`);
    }
    const peak = figures.peakRssMegabytes();
    return {
      name: 'admission',
      unit: `ms a review at ${REVIEWS_PER_SECOND} a second; ${NODES} nodes and ${PODS} pods, leading: ${Math.round(restMegabytes)} MB at rest`,
      rows,
      limits: [
        ...limits,
        atMost('MB of RSS at rest, leading', restMegabytes, MEGABYTES_MAX),
        atMost('MB of RSS while it reviews', peak, MEGABYTES_MAX),
      ],
    };
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

/** Nodes and bound pods, which the webhook follows as their leader. */
async function fill({ plane }: WebhookCluster, progress: BenchOptions['progress']): Promise<void> {
  const create = async (at: string, body: object) => {
    const { status } = await plane.call('POST', at, body);
    if (status !== 201) throw new Error(`${at} was answered ${status}`);
  };
  const labels = { 'miroir.dev/containerd': 'compatible' };
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
  await eachAtOnce(numbers(NODES), CREATIONS_AT_ONCE, (index) =>
    create('/api/v1/nodes', { metadata: { name: `node-${index}`, labels } }),
  );
  progress(`${NODES} nodes are there`);
  await eachAtOnce(numbers(PODS), CREATIONS_AT_ONCE, (index) =>
    create(`/api/v1/namespaces/${STRANGER}/pods`, {
      metadata: { name: `pod-${index}`, labels: { app: 'app' } },
      spec: { nodeName: `node-${index % NODES}`, containers: container(0) },
    }),
  );
  progress(`${PODS} pods are there`);
}

function container(bytes: number): readonly object[] {
  const env = bytes === 0 ? [] : [{ name: 'FILL', value: 'x'.repeat(bytes) }];
  return [{ name: 'app', image: 'registry.example/app:v1', env, resources: { requests: { cpu: '100m' } } }];
}

function review(podBytes: number): Buffer {
  const pod = { metadata: { name: 'app', labels: { app: 'app' } }, spec: { containers: container(podBytes) } };
  const resource = { group: '', version: 'v1', resource: 'pods' };
  const request = {
    uid: 'b8e8a2b6-0000-4000-8000-000000000000',
    operation: 'CREATE',
    namespace: TEAM,
    resource,
    object: pod,
  };
  return Buffer.from(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request }));
}

/** Sends at a steady rate, whether answers come or not: who is slow cannot slow the questions down. Milliseconds each took. */
async function load(
  cluster: WebhookCluster,
  agent: https.Agent,
  body: Buffer,
  seconds: number,
  signal: AbortSignal,
): Promise<number[]> {
  const startedAt = performance.now();
  const answers: Promise<number>[] = [];
  for (let index = 0; index < seconds * REVIEWS_PER_SECOND; index++) {
    const dueMs = startedAt + (index * 1000) / REVIEWS_PER_SECOND - performance.now();
    if (dueMs > 0) await delay(dueMs, undefined, { signal });
    answers.push(ask(cluster, agent, body));
  }
  return Promise.all(answers);
}

async function ask({ plane, authority }: WebhookCluster, agent: https.Agent, body: Buffer): Promise<number> {
  const startedAt = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = https.request({
    agent,
    host: plane.address,
    port: WEBHOOK_PORT,
    path: '/mutate-pods?timeout=3s',
    method: 'POST',
    ca: authority.certificate,
    servername: `${SERVICE}.miroir.svc`,
    headers: { 'content-type': 'application/json', 'content-length': body.length },
  });
  request.on('error', reject);
  request.on('response', (response) => {
    response.toArray().then((chunks) => resolve(Buffer.concat(chunks as Buffer[]).toString()), reject);
  });
  request.end(body);
  const answer = await promise;
  const tookMs = performance.now() - startedAt;
  if (!answer.includes('"patchType":"JSONPatch"')) throw new Error(`the answer is ${answer}`);
  return tookMs;
}
