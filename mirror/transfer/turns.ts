import type { Provider } from '../swarm/router.ts';
import type { Fault, RelayAction, RelayEvent, RelayState, RelayStep } from './relay.ts';
import { ask as askForRest, askNext, cancelAll, chosenOf, passOn } from './relay-moves.ts';

/**
 * Two peers that send one content in turns, as neither fills the pipe alone: each is asked for a part behind the last one, as soon as it
 * has sent the part before. The bytes of the first part go on as they come, those of the others are stored until it is their turn.
 * Whatever goes wrong, one of the two goes on alone from where the client is.
 */
export interface Turns {
  readonly peers: readonly [Provider, Provider];
  /** Requests that are not answered in full yet, at most one of each peer. */
  readonly asked: readonly Asked[];
  /** What was asked for and not passed on yet, in order and without a gap. */
  readonly parts: readonly Part[];
  /** Where the next part begins. */
  readonly next: number;
  /** The client has taken all before this. */
  readonly taken: number;
}

export interface TurnsLimits {
  readonly partBytes: number;
  /** Nothing is asked for that is so far from what the client has taken: all that is in memory lies between. */
  readonly windowBytes: number;
}

interface Asked {
  readonly id: number;
  readonly provider: Provider;
  readonly hasHead: boolean;
  readonly isLate: boolean;
}

interface Part {
  /** Whose answer it is. */
  readonly id: number;
  readonly provider: Provider;
  /** All before it came. */
  readonly offset: number;
  readonly end: number;
  /** It was asked for more than the part, when it sent alone. */
  readonly goesOn: boolean;
}

/** A part that is broken off may have been bad luck; more than a few are not. */
const TURNS_MAX = 3;

/** A relay that is in turns. */
type InTurns = RelayState & { readonly turns: Turns; readonly size: NonNullable<RelayState['size']> };

function isInTurns(state: RelayState): state is InTurns {
  return state.turns !== undefined && state.size !== undefined;
}

/** Who sends goes on up to where the other one's part begins. */
export function beginTurns(state: RelayState, id: number, other: Provider, taken: number): RelayStep {
  const { plan, size, offset, phase, isHeadSent, turnsCount } = state;
  const chosen = chosenOf(state);
  const isOfUse = isHeadSent && phase === 'running' && turnsCount < TURNS_MAX;
  if (chosen?.id !== id || !isOfUse || state.attempts.length > 1 || !state.queue.includes(other)) return same(state);
  if (plan.turns === undefined || size === undefined) return same(state);
  const next = Math.min(chosen.end ?? size.end, offset + plan.turns.partBytes);
  // Nor between two requests of the same peer.
  if (next === offset || next >= size.end) return same(state);
  const { provider } = chosen;
  const turns: Turns = {
    peers: [provider, other],
    asked: [{ id, provider, hasHead: true, isLate: false }],
    parts: [{ id, provider, offset, end: next, goesOn: chosen.end !== next }],
    next,
    taken,
  };
  const queue = state.queue.filter((one) => one !== other);
  return askForParts({ ...state, size, attempts: [], queue, turns, turnsCount: turnsCount + 1 }, [
    { type: 'began-turns' },
  ]);
}

/** Undefined for what has nothing to do with turns. */
export function stepTurns(state: RelayState, event: RelayEvent): RelayStep | undefined {
  if (!isInTurns(state)) return undefined;
  if (state.phase === 'verifying') return isOfTurns(event) ? same(state) : undefined;
  if (event.type === 'alone') return goAlone(state, event.provider, otherOf(state, event.provider));
  if (event.type === 'taken') return askForParts({ ...state, turns: { ...state.turns, taken: event.offset } });
  if (!('attempt' in event)) return undefined;
  const asked = state.turns.asked.find(({ id }) => id === event.attempt);
  if (asked === undefined) return same(state);
  switch (event.type) {
    case 'head':
      return takeHead(state, asked, event.sizeBytes);
    case 'chunk':
      return takeChunk(state, asked, event.byteCount);
    case 'ended':
      return askForParts(without(state, asked));
    case 'failed':
      return lose(state, asked, event.fault, []);
    case 'late':
      return takeDelay(withAsked(state, { ...asked, isLate: true }));
    case 'in-turns':
    case 'slow':
      return same(state);
  }
}

function isOfTurns(event: RelayEvent): boolean {
  return event.type === 'alone' || event.type === 'taken' || 'attempt' in event;
}

/** Each peer that sends nothing is asked for the next part, as far as the window goes. */
function askForParts(state: InTurns, before: readonly RelayAction[] = []): RelayStep {
  const actions = [...before];
  let { turns, attemptCount } = state;
  const { partBytes, windowBytes } = state.plan.turns as TurnsLimits;
  for (const provider of turns.peers) {
    const end = Math.min(turns.next + partBytes, state.size.end);
    const isBusy = turns.asked.some((one) => one.provider === provider);
    if (isBusy || turns.next === end || end - turns.taken > windowBytes) continue;
    const id = attemptCount;
    attemptCount += 1;
    actions.push({ type: 'ask', attempt: id, provider, start: turns.next, end });
    turns = {
      ...turns,
      asked: [...turns.asked, { id, provider, hasHead: false, isLate: false }],
      parts: [...turns.parts, { id, provider, offset: turns.next, end, goesOn: false }],
      next: end,
    };
  }
  return { state: { ...state, turns, attemptCount }, actions };
}

function takeHead(state: InTurns, asked: Asked, sizeBytes: number): RelayStep {
  if (sizeBytes === state.size.wholeBytes) {
    return { state: withAsked(state, { ...asked, hasHead: true }), actions: [{ type: 'read', attempt: asked.id }] };
  }
  // Where nobody else said how large it is, one of the two is wrong, and it may as well be the one before.
  const fault = state.plan.sizeBytes === undefined ? 'unavailable' : 'misbehaved';
  return lose(state, asked, fault, [{ type: 'cancel', attempt: asked.id }]);
}

function takeChunk(state: InTurns, { id, provider }: Asked, byteCount: number): RelayStep {
  const [first, second] = state.turns.parts;
  if (first?.id !== id) {
    const parts = state.turns.parts.map((part) =>
      part.id === id ? { ...part, offset: part.offset + byteCount } : part,
    );
    return { state: { ...state, turns: { ...state.turns, parts } }, actions: [{ type: 'store', attempt: id }] };
  }
  const left = first.end - first.offset;
  if (first.goesOn && byteCount >= left && !hasAnswered(state, second)) {
    // Nobody is there to go on behind the part, so it is no part.
    const alone = goAlone(state, provider, otherOf(state, provider));
    const passed = passOn(alone.state, provider, byteCount);
    return { state: passed.state, actions: [...alone.actions, ...passed.actions] };
  }
  const count = Math.min(byteCount, left);
  const passed = passOn(state, provider, count);
  if (!isInTurns(passed.state)) return passed;
  if (count < left) return { state: atFirst(passed.state, first.offset + count), actions: passed.actions };
  return passOnStored(passed.state, passed.actions);
}

function hasAnswered({ turns }: InTurns, part: Part | undefined): boolean {
  return (
    part !== undefined && (part.offset === part.end || turns.asked.some(({ id, hasHead }) => id === part.id && hasHead))
  );
}

/** The first part is passed on: it is the turn of the next one, or of several that are here already. */
function passOnStored(state: InTurns, before: readonly RelayAction[]): RelayStep {
  const actions = [...before];
  let now = state;
  for (;;) {
    const [done, next, ...later] = now.turns.parts;
    if (done?.goesOn === true) {
      actions.push({ type: 'cancel', attempt: done.id });
      const asked = now.turns.asked.filter(({ id }) => id !== done.id);
      now = { ...now, turns: { ...now.turns, asked } };
    }
    now = { ...now, turns: { ...now.turns, parts: next === undefined ? [] : [next, ...later] } };
    if (next === undefined || next.offset === now.offset) break;
    const passed = passOn(now, next.provider, next.offset - now.offset, next.id);
    actions.push(...passed.actions);
    if (!isInTurns(passed.state)) return { state: passed.state, actions };
    now = passed.state;
    if (next.offset < next.end || now.phase === 'verifying') break;
  }
  if (now.phase === 'verifying') return { state: now, actions };
  return takeDelay(now, actions);
}

/** Who is late with what is next is not waited for; with what is not, there is time. */
function takeDelay(state: InTurns, before: readonly RelayAction[] = []): RelayStep {
  const [first] = state.turns.parts;
  const late = state.turns.asked.find(({ id, isLate, hasHead }) => id === first?.id && isLate && !hasHead);
  if (late === undefined) return askForParts(state, before);
  return goAlone(state, otherOf(state, late.provider), late.provider, before);
}

function lose(state: InTurns, lost: Asked, fault: Fault, before: readonly RelayAction[]): RelayStep {
  const isNext = state.turns.parts[0]?.id === lost.id;
  const actions: RelayAction[] = [...before, { type: 'blame', provider: lost.provider, fault }];
  if (isNext) actions.push({ type: 'resumed' });
  return goAlone(without(state, lost), otherOf(state, lost.provider), undefined, actions);
}

/** What is stored is dropped: who goes on sends it again, unless what is next is on its way from there. */
function goAlone(
  { turns, ...state }: InTurns,
  provider: Provider,
  other: Provider | undefined,
  before: readonly RelayAction[] = [],
): RelayStep {
  const [first] = turns.parts;
  const asked = turns.asked.find((one) => one.id === first?.id && one.provider === provider);
  const left = turns.asked.filter((one) => one !== asked);
  const actions: RelayAction[] = [
    ...before,
    ...cancelAll({ attempts: [], turns: { ...turns, asked: left } }),
    { type: 'drop-stored' },
  ];
  const alone = { ...state, queue: other === undefined ? state.queue : [...state.queue, other] };
  if (first === undefined || asked === undefined) {
    const { state: next, actions: asks } = askForRest(alone, provider);
    return { state: next, actions: [...actions, ...asks] };
  }
  const attempt = { id: asked.id, provider, isChosen: asked.hasHead, isLate: asked.isLate };
  const attempts = [first.goesOn ? attempt : { ...attempt, end: first.end }];
  return askNext({ ...alone, attempts }, actions);
}

function otherOf({ turns: { peers } }: InTurns, provider: Provider): Provider {
  return peers[0] === provider ? peers[1] : peers[0];
}

function withAsked(state: InTurns, changed: Asked): InTurns {
  const asked = state.turns.asked.map((one) => (one.id === changed.id ? changed : one));
  return { ...state, turns: { ...state.turns, asked } };
}

function without(state: InTurns, gone: Asked): InTurns {
  return { ...state, turns: { ...state.turns, asked: state.turns.asked.filter(({ id }) => id !== gone.id) } };
}

function atFirst(state: InTurns, offset: number): InTurns {
  const parts = state.turns.parts.map((part, index) => (index === 0 ? { ...part, offset } : part));
  return { ...state, turns: { ...state.turns, parts } };
}

function same(state: RelayState): RelayStep {
  return { state, actions: [] };
}
