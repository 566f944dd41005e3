import { createHash } from 'node:crypto';
import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Provider } from '../swarm/router.ts';
import type { BodySink } from './body-sink.ts';
import { createHeldBody, type HeldBody } from './held-body.ts';
import type { TransferMetrics } from './metrics.ts';
import type { ContentRequest, PeerBody, PeerClient } from './peer-client.ts';
import type { PeerMemory } from './peer-memory.ts';
import type { Early, ReadAhead } from './read-ahead.ts';
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
import { createPaceWatch, type RegistryInstead } from './watch-pace.ts';

export interface RunRelayDeps {
  readonly client: PeerClient;
  readonly peers: PeerMemory;
  readonly log: Logger;
  readonly metrics: TransferMetrics;
  readonly readAhead: ReadAhead;
}

export interface RunRelayOptions {
  readonly plan: RelayPlan;
  /** From the request to the first byte for the client. */
  readonly firstByteTimeoutMs: number;
  /** What else there is than peers, once the client has its first byte. */
  readonly registry?: RegistryInstead;
}

/** How it went so far. */
export interface Progress {
  /** How far the relay is. */
  readonly offset: () => number;
  /** The addresses of those who were said to have it and do not. Who is to be receiving it may only not have begun. */
  readonly absent: ReadonlySet<string>;
  /** The addresses of those who were sending to enough others. */
  readonly busy: ReadonlySet<string>;
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
  const busy = new Set<string>();
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
  let taken = plan.start;
  const answer = Promise.withResolvers<RelayedContent | undefined>();
  const outcome = Promise.withResolvers<SendOutcome>();

  const pace = createPaceWatch(
    { ...deps, now: () => performance.now(), every },
    { registry },
    {
      state: () => state,
      taken: () => taken,
      tell: (event) => dispatch(event),
      leave: () => giveWay(),
    },
  );

  const dispatch = (event: RelayEvent, chunk?: Chunk) => {
    events.push(chunk === undefined ? { event } : { event, chunk });
    if (isStepping) return;
    isStepping = true;
    for (let next = events.shift(); next !== undefined; next = events.shift()) {
      const step = stepRelay(state, next.event);
      state = step.state;
      let isTaken = false;
      for (const action of step.actions) {
        if (action.type === 'store' || takesChunk(action)) isTaken = true;
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
          giveWay,
          cancel,
        });
      case 'deliver':
        return deliver(bytesOf(action, chunk));
      case 'keep':
        return keep(bytesOf(action, chunk));
      case 'store':
        return store(action.attempt, chunk as Chunk);
      case 'drop-stored':
        return pace.early()?.drop();
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
      case 'began-turns':
        deps.metrics.turns.inc();
        return pace.beganTurns();
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
    const watch = pace.reads(attempt, asked.get(attempt) as Provider);
    const body = createHeldBody();
    held.set(attempt, body);
    bodies.get(attempt)?.pipe({
      chunk: (bytes, release) => {
        watch.arrived(bytes.length);
        const taken = () => {
          watch.taken();
          release();
        };
        const chunk = { bytes, release: taken };
        body.next(() => dispatch({ type: 'chunk', attempt, byteCount: bytes.length }, chunk), taken);
      },
      end: () =>
        body.next(() => {
          watch.ended();
          settle(attempt);
          dispatch({ type: 'ended', attempt });
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

  const giveWay = () => {
    isToGiveWay = true;
    dispatch({ type: 'give-way' });
  };

  const settle = (attempt: number) => {
    const provider = asked.get(attempt);
    if (provider !== undefined) deps.peers.ended(provider);
    asked.delete(attempt);
    bodies.delete(attempt);
    held.delete(attempt);
    pace.over(attempt);
  };

  const drop = (attempt: number) => {
    bodies.get(attempt)?.cancel();
    held.get(attempt)?.drop();
    settle(attempt);
  };

  /** Of what came early, or of the chunk: only its first bytes when a part begins behind them. */
  const bytesOf = (
    action: { readonly part?: number; readonly byteCount?: number },
    chunk: Chunk | undefined,
  ): Chunk => {
    if (action.part !== undefined) return (pace.early() as Early).take(action.part);
    const { bytes, release } = chunk as Chunk;
    const isWhole = (action.byteCount ?? bytes.length) === bytes.length;
    return isWhole ? (chunk as Chunk) : { bytes: bytes.subarray(0, action.byteCount), release };
  };

  const store = (attempt: number, { bytes, release }: Chunk) => {
    pace.early()?.store(attempt, bytes);
    release();
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
    else sink.write(chunk.bytes, () => wasWritten(chunk));
  };

  const wasWritten = ({ bytes, release }: Chunk) => {
    taken += bytes.length;
    release();
    if (state.turns !== undefined) dispatch({ type: 'taken', offset: taken });
  };

  const verify = (): boolean => {
    const whole = hash?.copy() ?? createHash('sha256');
    for (const bytes of kept) whole.update(bytes);
    return `sha256:${whole.digest('hex')}` === request.digest;
  };

  const blame = (provider: Provider, fault: Fault) => {
    deps.peers.blame(provider, fault);
    if (fault === 'absent' && provider.isReceiving !== true) absent.add(provider.address);
    if (fault === 'busy') busy.add(provider.address);
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

  const cancel = () => {
    dispatch({ type: 'client-gone' });
    for (const { release } of early.splice(0)) release();
  };

  const gone = () => {
    outcome.resolve('client-gone');
    dispatch({ type: 'client-gone' });
  };

  const close = () => {
    clearTimeout(deadline);
    pace.stop();
    signal.removeEventListener('abort', gone);
    over.abort();
    answer.resolve(undefined);
  };

  const search = async () => {
    try {
      for await (const batch of find(over.signal, { offset: () => state.offset, absent, busy })) {
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

function every(ms: number, callback: () => void): () => void {
  const timer = setInterval(callback, ms);
  return () => clearInterval(timer);
}

function takesChunk(action: RelayAction): boolean {
  return (action.type === 'deliver' || action.type === 'keep') && action.part === undefined;
}

function faultOf(error: unknown, provider: Provider | undefined): Fault {
  if (hasCode(error, 'ERR_CONTENT_NOT_FOUND')) return 'absent';
  if (hasCode(error, 'ERR_PEER_BUSY')) return 'busy';
  if (hasCode(error, 'ERR_PEER_MISBEHAVED')) return 'misbehaved';
  // What it was to send on had stopped coming, or was cancelled there: no fault of its own.
  return provider?.isReceiving === true ? 'absent' : 'unavailable';
}
