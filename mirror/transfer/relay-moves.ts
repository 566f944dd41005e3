import type { Provider } from '../swarm/router.ts';
import type { Attempt, RelayAction, RelayState, RelayStep } from './relay.ts';

/** How many peers are asked at a time for a first byte: the second one when the first is late, and whoever answers first sends. */
const ATTEMPTS_MAX = 2;

/** Asks who is next in the queue, or ends when nobody is left and none will come. */
export function askNext(state: RelayState, before: readonly RelayAction[] = []): RelayStep {
  const isServed = state.phase === 'verifying' || state.turns !== undefined || chosenOf(state) !== undefined;
  if (isServed || state.attempts.some(({ isLate }) => !isLate) || state.attempts.length >= ATTEMPTS_MAX) {
    return { state, actions: before };
  }
  const [provider, ...queue] = state.queue;
  if (provider === undefined) {
    if (state.attempts.length > 0 || state.isSearching) return { state, actions: before };
    return end(state, [...before, { type: state.isHeadSent ? 'cut' : 'give-up' }]);
  }
  const { state: next, actions } = ask({ ...state, queue }, provider);
  return { state: next, actions: [...before, ...actions] };
}

export function ask(state: RelayState, provider: Provider): RelayStep {
  const id = state.attemptCount;
  const attempts = [...state.attempts, { id, provider, isChosen: false, isLate: false }];
  const { end } = state.plan;
  return {
    state: { ...state, attempts, attemptCount: id + 1 },
    actions: [{ type: 'ask', attempt: id, provider, start: state.offset, ...(end !== undefined && { end }) }],
  };
}

export function chosenOf({ attempts }: RelayState): Attempt | undefined {
  return attempts.find(({ isChosen }) => isChosen);
}

/** Passes on bytes that are next in order: of the chunk that came, or all that was stored of a part. */
export function passOn(state: RelayState, provider: Provider, byteCount: number, part?: number): RelayStep {
  const ofPart = part === undefined ? {} : { part };
  const offset = state.offset + byteCount;
  const sources = state.sources.includes(provider) ? state.sources : [...state.sources, provider];
  const next: RelayState = { ...state, offset, sources };
  const isComplete = offset === state.size?.end;
  if (isComplete && coversWhole(state) && (state.plan.verifies || isKeptWhole(state))) {
    // The last bytes wait for the verdict: wrong content is never handed over as complete.
    return { state: { ...next, phase: 'verifying' }, actions: [{ type: 'keep', ...ofPart }, { type: 'verify' }] };
  }
  if (isKeptWhole(state)) return { state: next, actions: [{ type: 'keep', ...ofPart }] };
  const deliver: RelayAction[] = [...headOnce(state), { type: 'deliver', byteCount, ...ofPart }];
  if (!isComplete) return { state: { ...next, isHeadSent: true }, actions: deliver };
  return { state: over(next), actions: [...deliver, { type: 'finish' }] };
}

export function end(state: RelayState, last: readonly RelayAction[]): RelayStep {
  return { state: over(state), actions: [...cancelAll(state), ...last] };
}

export function over({ turns: _turns, ...state }: RelayState): RelayState {
  return { ...state, phase: 'over', attempts: [], queue: [] };
}

export function cancelAll({ attempts, turns }: Pick<RelayState, 'attempts' | 'turns'>): RelayAction[] {
  return [...attempts, ...(turns?.asked ?? [])].map(({ id }) => ({ type: 'cancel', attempt: id }));
}

export function headOnce({ plan, size, isHeadSent }: RelayState): RelayAction[] {
  if (isHeadSent || size === undefined) return [];
  return [{ type: 'send-head', sizeBytes: size.wholeBytes, start: plan.start, end: size.end }];
}

function coversWhole({ plan, size }: RelayState): boolean {
  return plan.start === 0 && size !== undefined && size.end === size.wholeBytes;
}

function isKeptWhole(state: RelayState): boolean {
  return coversWhole(state) && state.size !== undefined && state.size.wholeBytes <= state.plan.keepBytesMax;
}
