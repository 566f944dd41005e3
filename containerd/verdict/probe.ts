import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, MiroirError } from '../../common/errors.ts';
import { formatHostPort } from '../../common/host-port.ts';
import { boundAddress, listen } from '../../common/http/listen.ts';
import type { CriClient } from '../api/cri.ts';
import { GrpcError } from '../api/grpc.ts';
import { countMissing, PROBE_FOLDER, removeEmptyFolder } from '../certs-d.ts';
import type { ProbeOutcome } from './evidence.ts';

export interface ProbeDeps {
  readonly cri: Pick<CriClient, 'pullImage' | 'runtimeVersion'>;
}

export interface ProbeOptions {
  readonly certsDir: string;
  /** How long containerd has to ask. */
  readonly deadlineMs?: number;
}

/**
 * A pull that is refused at once takes 30 to 60 ms. Without our file containerd looks the name up, which fails at once too
 * where DNS works, and takes many seconds where it does not.
 */
const PROBE_DEADLINE_MS = 8_000;
/** It answers from memory. */
const ALIVE_DEADLINE_MS = 2_000;
/** A probe's folder that is older was left by a process that was killed. */
const LEFTOVER_AGE_MS = 10 * 60_000;
/** containerd answers on its socket a moment before its CRI plugin does. */
const STARTING_RETRY_MS = 100;
/** gRPC's status for a service that nobody registered: containerd without its CRI plugin. */
const GRPC_UNIMPLEMENTED = 12;

/**
 * Has containerd pull an image that nobody has, of a registry that cannot be (RFC 6761 keeps `.invalid` from every DNS), with
 * a hosts.toml that sends it to a server of ours. If it asks there, it reads that folder: path, mount and plugin work
 * together. Nothing is pulled, and the file is gone when this resolves. Throws ERR_ABORTED, and nothing else but faults.
 */
export async function probeHosts(
  { cri }: ProbeDeps,
  { certsDir, deadlineMs = PROBE_DEADLINE_MS }: ProbeOptions,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const token = randomBytes(6).toString('hex');
  const registry = `miroir-probe-${token}.invalid`;
  const asked = new AbortController();
  const server = http.createServer((request, response) => {
    if (request.url?.includes(token)) asked.abort();
    response.writeHead(404, { 'Content-Length': 0, Connection: 'close' }).end();
  });
  await listen(server, { host: '127.0.0.1', port: 0 });
  try {
    const withdraw = await placeHosts(certsDir, registry, formatHostPort(boundAddress(server)));
    try {
      const ended = AbortSignal.any([signal, asked.signal, AbortSignal.timeout(deadlineMs)]);
      const failure = await pullAndFail(cri, `${registry}/probe:${token}`, ended);
      if (isLate(failure) && !asked.signal.aborted && !signal.aborted)
        return await judgeSilence(cri, deadlineMs, signal);
      return outcomeOf(failure, asked.signal.aborted, signal);
    } finally {
      await withdraw();
    }
  } catch (error) {
    if (error instanceof MiroirError || !(error instanceof Error && 'errno' in error)) throw error;
    return { kind: 'failed', why: `${certsDir} cannot be written (${error.message})` };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Resolves with why the pull failed, once containerd is ready to pull. */
async function pullAndFail(cri: ProbeDeps['cri'], image: string, signal: AbortSignal): Promise<unknown> {
  for (;;) {
    const failure = await cri.pullImage({ image }, signal).then(
      () => undefined,
      (error: unknown) => error,
    );
    const isStarting = failure instanceof MiroirError && failure.message.includes('not initialized yet');
    if (!isStarting || signal.aborted) return failure;
    await delay(STARTING_RETRY_MS, undefined, { signal }).catch(() => {});
  }
}

function isLate(failure: unknown): boolean {
  return hasCode(failure, 'ERR_ABORTED') || hasCode(failure, 'ERR_DEADLINE_EXCEEDED');
}

/**
 * The pull did not ask and did not end. A containerd that lives is looking the registry up where no DNS answers: had it read
 * our file, it would have asked at once. One that hangs tells nothing.
 */
async function judgeSilence(cri: ProbeDeps['cri'], waitedMs: number, signal: AbortSignal): Promise<ProbeOutcome> {
  try {
    await cri.runtimeVersion(AbortSignal.any([signal, AbortSignal.timeout(ALIVE_DEADLINE_MS)]));
    return { kind: 'not-reached' };
  } catch (error) {
    if (signal.aborted || !(error instanceof MiroirError)) throw error;
    return { kind: 'failed', why: `containerd hangs: a pull did not end within ${waitedMs / 1000} s` };
  }
}

function outcomeOf(failure: unknown, wasAsked: boolean, signal: AbortSignal): ProbeOutcome {
  if (wasAsked) return { kind: 'reached' };
  if (failure !== undefined && !(failure instanceof MiroirError)) throw failure;
  if (signal.aborted) throw failure ?? new MiroirError('ERR_ABORTED', 'the probe was stopped');
  if (failure?.code === 'ERR_CONTAINERD_UNAVAILABLE') return { kind: 'failed', why: failure.message };
  if (failure instanceof GrpcError && failure.status === GRPC_UNIMPLEMENTED) {
    return { kind: 'failed', why: 'containerd runs without its CRI plugin' };
  }
  // Any other failure happened before it looked for the registry, or has nothing to do with it.
  if (failure !== undefined && !/failed to (resolve|do request)/.test(failure.message)) {
    return { kind: 'failed', why: failure.message };
  }
  return { kind: 'not-reached' };
}

/** Resolves with what takes the file away again, and the folders that were made for it. */
async function placeHosts(certsDir: string, registry: string, address: string): Promise<() => Promise<void>> {
  const made: string[] = [];
  const missing = await countMissing(certsDir);
  for (let at = certsDir; made.length < missing; at = path.dirname(at)) made.push(at);
  const folder = path.join(certsDir, registry);
  await fs.mkdir(folder, { recursive: true });
  const withdraw = async () => {
    await fs.rm(folder, { recursive: true, force: true });
    for (const empty of made) await removeEmptyFolder(empty);
  };
  try {
    await removeLeftovers(certsDir);
    // containerd 1.6 drops a file without a host.
    const host = `[host."http://${address}"]\n  capabilities = ["pull", "resolve"]\n`;
    await fs.writeFile(path.join(folder, 'hosts.toml'), `server = "http://${address}"\n\n${host}`);
  } catch (error) {
    await withdraw();
    throw error;
  }
  return withdraw;
}

async function removeLeftovers(certsDir: string): Promise<void> {
  const names = (await fs.readdir(certsDir)).filter((name) => PROBE_FOLDER.test(name));
  for (const name of names) {
    const folder = path.join(certsDir, name);
    const { mtimeMs } = await fs.stat(folder).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > LEFTOVER_AGE_MS) await fs.rm(folder, { recursive: true, force: true });
  }
}
