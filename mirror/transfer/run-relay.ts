import { createHash } from 'node:crypto';
import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Provider } from '../swarm/router.ts';
import type { BodySink } from './body-sink.ts';
import { createHeldBody, type HeldBody } from './held-body.ts';
import type { TransferMetrics } from './metrics.ts';
import type { ContentRequest, PeerBody, PeerClient } from './peer-client.ts';
import type { PeerMemory } from './peer-memory.ts';
import { fasterPeer } from './pick-peer.ts';
import {
  type Fault,
  needsMore,
  type RelayAction,
  type RelayEvent,
  type RelayPlan,
  startRelay,
  stepRelay,
} from './relay.ts';
import type { SendOutcome } from './send-file.ts';
import { createThroughputMeter, type ThroughputMeter } from './throughput.ts';

export interface RunRelayDeps {
  readonly client: PeerClient;
  readonly peers: PeerMemory;
  readonly log: Logger;
  readonly metrics: TransferMetrics;
}

export interface RunRelayOptions {
  readonly plan: RelayPlan;
  /** From the request to the first byte for the client. */
  readonly firstByteTimeoutMs: number;
  /** What else there is than peers, once the client has its first byte. */
  readonly registry?: RegistryInstead;
}

/** The registry, to which the client is left when all peers are slow. */
export interface RegistryInstead {
  isFaster(bytesPerSecond: number): boolean;
  /** The client is about to ask again, and is to be sent there. */
  leave(): void;
}

/** How it went so far. */
export interface Progress {
  /** How far the relay is. */
  readonly offset: () => number;
  /** The addresses of those who were said to have it and do not. Who is to be receiving it may only not have begun. */
  readonly absent: ReadonlySet<string>;
}

/** Finds who to ask. The next batch is only taken when all before came to nothing. */
export type Find = (signal: AbortSignal, progress: Progress) => AsyncIterable<readonly Provider[]>;

/** Content whose first byte is here. `send` is called once, or `cancel` is. */
export interface RelayedContent {
  readonly sizeBytes: number;
  readonly start: number;
  readonly end: number;
  /** Whose bytes were sent so far. */
  sources(): readonly Provider[];
  send(sink: BodySink): Promise<SendOutcome>;
  /** Ends early, so that the client asks again for the rest. */
  giveWay(): void;
  cancel(): void;
}

/** How long a peer sends before it is compared with others: a slow start is over by then. */
const LOOK_MS = 1000;

/** What came faster than it can be looked at tells a pace too, when it was not only what was on its way. */
const TOLD_BYTES_MIN = 1024 * 1024;

/** A hiccup is no pace, and what is nearly done costs least where it is. */
const SLOW_LOOKS_MAX = 2;
const SECONDS_LEFT_MIN = 3;

interface Chunk {
  readonly bytes: Uint8Array;
  readonly release: () => void;
}

/** Runs the relay machine with real peers. Resolves when the first byte is here, or with undefined when none can be had. */
export function runRelay(
  deps: RunRelayDeps,
  { plan, firstByteTimeoutMs, registry }: RunRelayOptions,
  request: ContentRequest,
  find: Find,
  signal: AbortSignal,
): Promise<RelayedContent | undefined> {
  let state = startRelay(plan);
  const events: Array<{ event: RelayEvent; chunk?: Chunk }> = [];
  let isStepping = false;
  const over = new AbortController();
  const asked = new Map<number, Provider>();
  const absent = new Set<string>();
  const bodies = new Map<number, PeerBody>();
  const held = new Map<number, HeldBody>();
  const hash = plan.verifies && plan.start === 0 ? createHash('sha256') : undefined;
  let kept: Buffer[] = [];
  /** What came before the client's sink was there. */
  let early: Chunk[] = [];
  let sink: BodySink | undefined;
  let ended: 'finish' | 'cut' | undefined;
  let isToGiveWay = false;
  let wantMore = () => {};
  let looks: NodeJS.Timeout | undefined;
  let slowLooks = 0;
  const answer = Promise.withResolvers<RelayedContent | undefined>();
  const outcome = Promise.withResolvers<SendOutcome>();

  const dispatch = (event: RelayEvent, chunk?: Chunk) => {
    events.push(chunk === undefined ? { event } : { event, chunk });
    if (isStepping) return;
    isStepping = true;
    for (let next = events.shift(); next !== undefined; next = events.shift()) {
      const step = stepRelay(state, next.event);
      state = step.state;
      let isTaken = false;
      for (const action of step.actions) {
        if (action.type === 'deliver' || action.type === 'keep') isTaken = true;
        perform(action, next.chunk);
      }
      if (!isTaken) next.chunk?.release();
    }
    isStepping = false;
    if (state.phase === 'over') close();
    if (state.phase === 'over' || needsMore(state)) wantMore();
  };

  const perform = (action: RelayAction, chunk: Chunk | undefined) => {
    switch (action.type) {
      case 'ask':
        return void ask(action.attempt, action.provider, action.start, action.end);
      case 'read':
        return read(action.attempt);
      case 'cancel':
        return drop(action.attempt);
      case 'hold':
        return held.get(action.attempt)?.hold();
      case 'unhold':
        return held.get(action.attempt)?.letGo();
      case 'send-head':
        clearTimeout(deadline);
        return answer.resolve({
          ...action,
          sources: () => state.sources,
          send,
          giveWay: () => {
            isToGiveWay = true;
            dispatch({ type: 'give-way' });
          },
          cancel: () => dispatch({ type: 'client-gone' }),
        });
      case 'deliver':
        return deliver(chunk as Chunk);
      case 'keep':
        return keep(chunk as Chunk);
      case 'drop-kept':
        kept = [];
        return;
      case 'deliver-kept':
        for (const bytes of kept) write({ bytes, release: () => {} });
        return;
      case 'verify':
        return dispatch({ type: 'verified', isRight: verify() });
      case 'blame':
        return blame(action.provider, action.fault);
      case 'resumed':
        return deps.metrics.resumes.inc();
      case 'switched':
        return deps.metrics.switches.inc();
      case 'finish':
      case 'cut':
        return finish(action.type);
      case 'give-up':
        return answer.resolve(undefined);
    }
  };

  const ask = async (attempt: number, provider: Provider, start: number, end: number | undefined) => {
    asked.set(attempt, provider);
    deps.peers.started(provider);
    const startedAt = performance.now();
    const late = setTimeout(() => dispatch({ type: 'late', attempt }), deps.peers.lateAfterMs());
    try {
      const body = await deps.client.get(provider.address, request, start, end, over.signal);
      deps.peers.answered(performance.now() - startedAt);
      if (!asked.has(attempt)) return body.cancel();
      bodies.set(attempt, body);
      dispatch({ type: 'head', attempt, sizeBytes: body.head.sizeBytes });
    } catch (error) {
      settle(attempt);
      deps.log.debug('peer could not be asked', { peer: provider.peerId, address: provider.address, error });
      dispatch({ type: 'failed', attempt, fault: faultOf(error, provider) });
    } finally {
      clearTimeout(late);
    }
  };

  const read = (attempt: number) => {
    const meter = createThroughputMeter(() => performance.now());
    clearInterval(looks);
    looks = setInterval(() => look(attempt, meter), LOOK_MS);
    const body = createHeldBody();
    held.set(attempt, body);
    bodies.get(attempt)?.pipe({
      chunk: (bytes, release) => {
        meter.arrived(bytes.length);
        const taken = () => {
          meter.taken();
          release();
        };
        const chunk = { bytes, release: taken };
        body.next(() => dispatch({ type: 'chunk', attempt, byteCount: bytes.length }, chunk), taken);
      },
      end: () =>
        body.next(() => {
          measure(attempt, meter, TOLD_BYTES_MIN);
          settle(attempt);
        }),
      failed: (error) =>
        body.next(() => {
          const provider = asked.get(attempt);
          settle(attempt);
          deps.log.info('peer broke off', { peer: provider?.peerId, address: provider?.address, error });
          const fault = faultOf(error, provider);
          dispatch({ type: 'failed', attempt, fault: fault === 'unavailable' ? 'broke-off' : fault });
        }),
    });
  };

  /** One that is receiving itself is as slow as who sends to it: that says nothing of its own pace. */
  const measure = (attempt: number, meter: ThroughputMeter, bytesMin: number) => {
    const provider = asked.get(attempt);
    const throughput = meter.look();
    if (provider === undefined || provider.isReceiving === true || throughput.byteCount < bytesMin) return undefined;
    deps.peers.measured(provider, throughput);
    return throughput;
  };

  const look = (attempt: number, meter: ThroughputMeter) => {
    const throughput = measure(attempt, meter, 0);
    if (throughput?.isPeersPace !== true) return;
    const holders = state.queue.filter(({ isReceiving }) => isReceiving !== true);
    const faster = fasterPeer(throughput.bytesPerSecond, holders, (one) => deps.peers.standing(one));
    if (faster === undefined) return leaveIfSlow(throughput.bytesPerSecond);
    deps.log.debug('peer is slow', { ...throughput, faster: faster.address });
    dispatch({ type: 'slow', attempt, faster });
  };

  const leaveIfSlow = (bytesPerSecond: number) => {
    slowLooks = registry?.isFaster(bytesPerSecond) === true ? slowLooks + 1 : 0;
    const bytesLeft = (state.size?.end ?? 0) - state.offset;
    if (registry === undefined || slowLooks < SLOW_LOOKS_MAX || bytesLeft < bytesPerSecond * SECONDS_LEFT_MIN) return;
    registry.leave();
    deps.metrics.left.inc();
    isToGiveWay = true;
    dispatch({ type: 'give-way' });
  };

  const settle = (attempt: number) => {
    const provider = asked.get(attempt);
    if (provider !== undefined) deps.peers.ended(provider);
    asked.delete(attempt);
    bodies.delete(attempt);
    held.delete(attempt);
  };

  const drop = (attempt: number) => {
    bodies.get(attempt)?.cancel();
    held.get(attempt)?.drop();
    settle(attempt);
  };

  const deliver = (chunk: Chunk) => {
    hash?.update(chunk.bytes);
    write(chunk);
  };

  const keep = ({ bytes, release }: Chunk) => {
    kept.push(Buffer.from(bytes));
    release();
  };

  const write = (chunk: Chunk) => {
    if (sink === undefined) early.push(chunk);
    else sink.write(chunk.bytes, chunk.release);
  };

  const verify = (): boolean => {
    const whole = hash?.copy() ?? createHash('sha256');
    for (const bytes of kept) whole.update(bytes);
    return `sha256:${whole.digest('hex')}` === request.digest;
  };

  const blame = (provider: Provider, fault: Fault) => {
    deps.peers.blame(provider, fault);
    if (fault === 'absent' && provider.isReceiving !== true) absent.add(provider.address);
    if (fault !== 'wrong-bytes' && fault !== 'suspect') return;
    deps.log.warn(
      fault === 'suspect' ? 'one of several peers sent wrong bytes' : 'peer sent wrong bytes and is banned',
      {
        peer: provider.peerId,
        address: provider.address,
        digest: request.digest,
      },
    );
    if (fault === 'wrong-bytes') deps.metrics.bans.inc();
  };

  const finish = (how: 'finish' | 'cut') => {
    ended = how;
    if (sink === undefined) return;
    if (how === 'finish') sink.finish();
    else sink.cut();
    if (how === 'cut' && !isToGiveWay) deps.metrics.cuts.inc();
    outcome.resolve(how === 'finish' ? 'sent' : 'short');
  };

  const send = (to: BodySink): Promise<SendOutcome> => {
    sink = to;
    to.gone.addEventListener('abort', gone, { once: true });
    if (to.gone.aborted) gone();
    const chunks = early;
    early = [];
    for (const chunk of chunks) write(chunk);
    if (ended !== undefined) finish(ended);
    return outcome.promise;
  };

  const gone = () => {
    outcome.resolve('client-gone');
    dispatch({ type: 'client-gone' });
  };

  const close = () => {
    clearTimeout(deadline);
    clearInterval(looks);
    signal.removeEventListener('abort', gone);
    over.abort();
    answer.resolve(undefined);
  };

  const search = async () => {
    try {
      for await (const batch of find(over.signal, { offset: () => state.offset, absent })) {
        const { promise: wanted, resolve } = Promise.withResolvers<void>();
        wantMore = resolve;
        dispatch({ type: 'found', providers: batch });
        if (needsMore(state)) resolve();
        await wanted;
        if (over.signal.aborted) return;
      }
    } catch (error) {
      deps.log.error('lookup failed', { error });
    }
    dispatch({ type: 'search-ended' });
  };

  const deadline = setTimeout(() => dispatch({ type: 'deadline' }), firstByteTimeoutMs);
  signal.addEventListener('abort', gone, { once: true });
  if (signal.aborted) gone();
  else void search();
  return answer.promise;
}

function faultOf(error: unknown, provider: Provider | undefined): Fault {
  if (hasCode(error, 'ERR_CONTENT_NOT_FOUND')) return 'absent';
  if (hasCode(error, 'ERR_PEER_BUSY')) return 'busy';
  if (hasCode(error, 'ERR_PEER_MISBEHAVED')) return 'misbehaved';
  // What it was to send on had stopped coming, or was cancelled there: no fault of its own.
  return provider?.isReceiving === true ? 'absent' : 'unavailable';
}
