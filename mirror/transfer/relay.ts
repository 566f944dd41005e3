import type { Provider } from '../swarm/router.ts';
import { ask, askNext, cancelAll, chosenOf, end, headOnce, over, passOn } from './relay-moves.ts';
import { beginTurns, stepTurns, type Turns, type TurnsLimits } from './turns.ts';

/**
 * The relay of one blob or manifest from peers to one client, as a pure machine: events in, actions out. It knows no
 * socket, no clock and no bytes, only how many there are.
 *
 * Whatever its peers do, the client gets the bytes from `start` on, each once and in order, and then either all of them,
 * or the end that containerd recovers from (`cut`). Before its first byte it gets nothing: then `give-up` becomes a 404.
 */
export interface RelayState {
  readonly plan: RelayPlan;
  /** Found and not asked yet, in the order to ask. */
  readonly queue: readonly Provider[];
  readonly isSearching: boolean;
  readonly attempts: readonly Attempt[];
  readonly attemptCount: number;
  /** The whole content's length and the end of what is wanted, as the first peer told; the others must agree. */
  readonly size?: { readonly wholeBytes: number; readonly end: number };
  /** All before this was delivered or kept. */
  readonly offset: number;
  /** Whose bytes are among them. */
  readonly sources: readonly Provider[];
  /** How often somebody was asked beside who sends, to go on instead. */
  readonly switches: number;
  /** The client was told that its request succeeds; the first byte went with it. */
  readonly isHeadSent: boolean;
  readonly phase: 'running' | 'verifying' | 'over';
  /** There is one while two peers send in turns; then there are no attempts. */
  readonly turns?: Turns;
  /** How often two began to. */
  readonly turnsCount: number;
}

export interface RelayPlan {
  readonly start: number;
  /** Not inclusive; undefined for all there is. */
  readonly end?: number;
  /** Wholes of at most so many bytes are kept and verified before the client gets any. */
  readonly keepBytesMax: number;
  /** Whether larger wholes are verified too, before their last bytes go out. */
  readonly verifies: boolean;
  /** Larger than any honest content of this kind. */
  readonly sizeBytesMax: number;
  /** How large the whole is, where that is known before a peer tells. */
  readonly sizeBytes?: number | undefined;
  /** Undefined where two peers are never to send in turns. */
  readonly turns?: TurnsLimits;
}

export interface Attempt {
  readonly id: number;
  readonly provider: Provider;
  /** Its head came, and its body is the one that is read. */
  readonly isChosen: boolean;
  /** Somebody else may be asked beside it. */
  readonly isLate: boolean;
  /** Not inclusive: where what it was asked for ends, when that is a part. */
  readonly end?: number;
}

export type RelayEvent =
  | { readonly type: 'found'; readonly providers: readonly Provider[] }
  | { readonly type: 'search-ended' }
  | { readonly type: 'head'; readonly attempt: number; readonly sizeBytes: number }
  /** `byteCount` bytes at `offset`; they are what `keep` and `deliver` are about. */
  | { readonly type: 'chunk'; readonly attempt: number; readonly byteCount: number }
  /** All that was asked for came. */
  | { readonly type: 'ended'; readonly attempt: number }
  | { readonly type: 'failed'; readonly attempt: number; readonly fault: Fault }
  /** It has not answered in the time that peers usually need. */
  | { readonly type: 'late'; readonly attempt: number }
  /** Somebody in the queue is likely to be much faster than who sends. */
  | { readonly type: 'slow'; readonly attempt: number; readonly faster: Provider }
  /** Who sends does not fill the pipe, and `other` in the queue may send as well. The client has taken all before `taken`. */
  | { readonly type: 'in-turns'; readonly attempt: number; readonly other: Provider; readonly taken: number }
  | { readonly type: 'taken'; readonly offset: number }
  /** Of two that send in turns, this one is better off alone. */
  | { readonly type: 'alone'; readonly provider: Provider }
  | { readonly type: 'verified'; readonly isRight: boolean }
  /** The time in which a first byte is of use is over. */
  | { readonly type: 'deadline' }
  /** The client is to ask again for the rest: something else of its is to come first. */
  | { readonly type: 'give-way' }
  | { readonly type: 'client-gone' };

/** What a peer did, in the order of how bad it is. */
export type Fault = 'absent' | 'busy' | 'unavailable' | 'broke-off' | 'misbehaved' | 'suspect' | 'wrong-bytes';

export type RelayAction =
  | {
      readonly type: 'ask';
      readonly attempt: number;
      readonly provider: Provider;
      readonly start: number;
      readonly end?: number;
    }
  | { readonly type: 'read'; readonly attempt: number }
  | { readonly type: 'cancel'; readonly attempt: number }
  /** Take no more from it until `unhold`, or until it is cancelled: what came meanwhile is still to be taken then. */
  | { readonly type: 'hold'; readonly attempt: number }
  | { readonly type: 'unhold'; readonly attempt: number }
  | { readonly type: 'send-head'; readonly sizeBytes: number; readonly start: number; readonly end: number }
  /** The first so many bytes of the chunk, or all that was stored of a part. */
  | { readonly type: 'deliver'; readonly byteCount: number; readonly part?: number }
  | { readonly type: 'keep'; readonly part?: number }
  /** The chunk is of a part that is not next. */
  | { readonly type: 'store'; readonly attempt: number }
  | { readonly type: 'drop-stored' }
  | { readonly type: 'drop-kept' }
  | { readonly type: 'deliver-kept' }
  /** Compare all that was delivered and kept with the digest, and tell by `verified`. */
  | { readonly type: 'verify' }
  | { readonly type: 'blame'; readonly provider: Provider; readonly fault: Fault }
  | { readonly type: 'resumed' }
  | { readonly type: 'switched' }
  | { readonly type: 'began-turns' }
  | { readonly type: 'finish' }
  | { readonly type: 'cut' }
  | { readonly type: 'give-up' };

export interface RelayStep {
  readonly state: RelayState;
  readonly actions: readonly RelayAction[];
}

/** Whether all who were found came to nothing, and others are needed. */
export function needsMore({ phase, queue, attempts, turns }: RelayState): boolean {
  return phase === 'running' && queue.length === 0 && attempts.length === 0 && turns === undefined;
}

/** Where all are slow, as the network between them is, nothing is won by going from one to the next. */
const SWITCHES_MAX = 3;

export function startRelay(plan: RelayPlan): RelayState {
  return {
    plan,
    queue: [],
    isSearching: true,
    attempts: [],
    attemptCount: 0,
    offset: plan.start,
    sources: [],
    switches: 0,
    turnsCount: 0,
    isHeadSent: false,
    phase: 'running',
  };
}

export function stepRelay(state: RelayState, event: RelayEvent): RelayStep {
  if (state.phase === 'over') return { state, actions: [] };
  const inTurns = stepTurns(state, event);
  if (inTurns !== undefined) return inTurns;
  switch (event.type) {
    case 'found':
      return askNext({ ...state, queue: [...state.queue, ...event.providers] });
    case 'search-ended':
      return askNext({ ...state, isSearching: false });
    case 'head':
      return takeHead(state, event.attempt, event.sizeBytes);
    case 'chunk':
      return takeChunk(state, event.attempt, event.byteCount);
    case 'ended':
      return takeEnd(state, event.attempt);
    case 'failed':
      return takeFailure(state, event.attempt, event.fault);
    case 'late':
      return takeDelay(state, event.attempt);
    case 'slow':
      return takeSlowness(state, event.attempt, event.faster);
    case 'in-turns':
      return beginTurns(state, event.attempt, event.other, event.taken);
    case 'taken':
    case 'alone':
      return { state, actions: [] };
    case 'verified':
      return takeVerdict(state, event.isRight);
    case 'deadline':
      return state.isHeadSent ? { state, actions: [] } : end(state, [{ type: 'give-up' }]);
    case 'give-way':
      return state.isHeadSent && state.phase === 'running' ? end(state, [{ type: 'cut' }]) : { state, actions: [] };
    case 'client-gone':
      return end(state, []);
  }
}

function takeDelay(state: RelayState, id: number): RelayStep {
  if (state.phase === 'verifying') return { state, actions: [] };
  const chosen = chosenOf(state);
  const late = state.attempts.find((one) => one.id === id && !one.isChosen);
  if (chosen !== undefined && late !== undefined) {
    const without = { ...state, attempts: [chosen], queue: [...state.queue, late.provider] };
    return {
      state: without,
      actions: [
        { type: 'cancel', attempt: id },
        { type: 'unhold', attempt: chosen.id },
      ],
    };
  }
  const attempts = state.attempts.map((one) => (one.id === id ? { ...one, isLate: true } : one));
  return askNext({ ...state, attempts });
}

/** Who is slow is held, not left, until the other one answers: that one may be busy, and then this one may be too. */
function takeSlowness(state: RelayState, id: number, faster: Provider): RelayStep {
  const slow = chosenOf(state);
  const isOfUse = state.isHeadSent && state.phase === 'running' && state.switches < SWITCHES_MAX;
  if (slow?.id !== id || !isOfUse || state.attempts.length > 1 || !state.queue.includes(faster)) {
    return { state, actions: [] };
  }
  const queue = state.queue.filter((one) => one !== faster);
  const { state: next, actions } = ask({ ...state, queue, switches: state.switches + 1 }, faster);
  return { state: next, actions: [{ type: 'hold', attempt: id }, ...actions] };
}

function takeHead(state: RelayState, id: number, sizeBytes: number): RelayStep {
  const attempt = state.attempts.find((one) => one.id === id);
  if (attempt === undefined) return { state, actions: [] };
  const end = Math.min(state.plan.end ?? sizeBytes, sizeBytes);
  const isPossible =
    sizeBytes <= state.plan.sizeBytesMax && (state.offset < end || (sizeBytes === 0 && state.offset === 0));
  if (!isPossible) return lose(state, attempt, 'misbehaved', [{ type: 'cancel', attempt: id }]);
  if (state.plan.sizeBytes !== undefined && state.plan.sizeBytes !== sizeBytes) {
    return lose(state, attempt, 'misbehaved', [{ type: 'cancel', attempt: id }]);
  }
  if (state.size !== undefined && state.size.wholeBytes !== sizeBytes) {
    // One of the two is wrong, and it may as well be the one before.
    return lose(state, attempt, 'unavailable', [{ type: 'cancel', attempt: id }]);
  }
  const others = state.attempts.filter((one) => one !== attempt);
  const chosen: RelayState = {
    ...state,
    attempts: [{ ...attempt, isChosen: true }],
    // Being late is no fault: they are asked again when this one breaks off.
    queue: [...state.queue, ...others.map(({ provider }) => provider)],
    size: { wholeBytes: sizeBytes, end },
  };
  const switched: RelayAction[] = chosenOf(state) === undefined ? [] : [{ type: 'switched' }];
  const actions: RelayAction[] = [
    ...cancelAll({ ...state, attempts: others }),
    ...switched,
    { type: 'read', attempt: id },
  ];
  if (state.offset < end) return { state: chosen, actions };
  // Empty content has no chunk that could complete it.
  return { state: { ...chosen, phase: 'verifying' }, actions: [...actions, { type: 'verify' }] };
}

function takeChunk(state: RelayState, id: number, byteCount: number): RelayStep {
  const attempt = state.attempts.find((one) => one.id === id && one.isChosen);
  if (attempt === undefined || state.size === undefined || state.phase === 'verifying') return { state, actions: [] };
  return passOn(state, attempt.provider, byteCount);
}

/** Of a part that was its peer's turn, and that peer now goes on alone. */
function takeEnd(state: RelayState, id: number): RelayStep {
  const [attempt, ...others] = state.attempts;
  const isPart = attempt?.id === id && attempt.isChosen && attempt.end === state.offset && others.length === 0;
  return isPart ? ask({ ...state, attempts: [] }, attempt.provider) : { state, actions: [] };
}

function takeVerdict(state: RelayState, isRight: boolean): RelayStep {
  if (state.phase !== 'verifying') return { state, actions: [] };
  if (isRight) {
    return { state: over(state), actions: [...headOnce(state), { type: 'deliver-kept' }, { type: 'finish' }] };
  }
  // With bytes of several peers nobody can tell whose were wrong.
  const fault: Fault = state.sources.length > 1 ? 'suspect' : 'wrong-bytes';
  const suspects = state.sources.length > 0 ? state.sources : state.attempts.map(({ provider }) => provider);
  const blames = suspects.map((provider): RelayAction => ({ type: 'blame', provider, fault }));
  if (state.isHeadSent) return end(state, [...blames, { type: 'drop-kept' }, { type: 'cut' }]);
  return askNext(restart({ ...state, attempts: [] }), [...blames, ...cancelAll(state), { type: 'drop-kept' }]);
}

function takeFailure(state: RelayState, id: number, fault: Fault): RelayStep {
  const attempt = state.attempts.find((one) => one.id === id);
  if (attempt === undefined || state.phase === 'verifying') return { state, actions: [] };
  return lose(state, attempt, fault, []);
}

function lose(state: RelayState, lost: Attempt, fault: Fault, before: readonly RelayAction[]): RelayStep {
  const without = { ...state, attempts: state.attempts.filter((one) => one !== lost) };
  const actions: RelayAction[] = [...before, { type: 'blame', provider: lost.provider, fault }];
  const chosen = chosenOf(without);
  if (chosen !== undefined) return { state: without, actions: [...actions, { type: 'unhold', attempt: chosen.id }] };
  if (!lost.isChosen) return askNext(without, actions);
  if (!state.isHeadSent) return askNext(restart(without), [...actions, { type: 'drop-kept' }]);
  return askNext(without, state.queue.length > 0 ? [...actions, { type: 'resumed' }] : actions);
}

/** What was kept came to nothing, so the next peer is asked for all of it: then one peer alone answers for the bytes. */
function restart(state: RelayState): RelayState {
  const { size: _size, ...rest } = state;
  return { ...rest, offset: state.plan.start, sources: [], phase: 'running' };
}
