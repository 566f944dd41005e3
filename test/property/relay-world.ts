import assert from 'node:assert/strict';
import type { Provider } from '../../mirror/swarm/router.ts';
import {
  needsMore,
  type RelayAction,
  type RelayEvent,
  type RelayPlan,
  type RelayState,
  startRelay,
  stepRelay,
} from '../../mirror/transfer/relay.ts';

/** What one peer does when it is asked. */
export interface Script {
  readonly answer: 'head' | 'absent' | 'unavailable' | 'wrong-size';
  /** Whether another one may be asked before it answers. */
  readonly isLate?: boolean;
  /** Where it breaks off, counted from the first byte that it was asked for; undefined for never. */
  readonly breaksAfter?: number;
  /** The offset whose byte it gets wrong. */
  readonly corruptAt?: number;
  readonly chunkBytes: number;
}

export interface World {
  readonly content: readonly number[];
  readonly plan: RelayPlan;
  readonly scripts: readonly Script[];
  /** After how many events the time for a first byte is over, the client leaves, or is to ask again later. */
  readonly deadlineAt: number;
  readonly clientGoneAt: number;
  readonly giveWayAt: number;
  /** After which events who sends is found to be slow, and which of those that wait is said to be faster. */
  readonly slowAt: readonly number[];
  /** After which events two are to send in turns, and after which one of two is to go on alone. */
  readonly turnsAt: readonly number[];
  readonly aloneAt: readonly number[];
  /** How many bytes the client takes at a time. */
  readonly takenBytes: number;
  /** Which of the things that may happen next does. */
  readonly order: readonly number[];
  /** How many providers are found with each answer of the lookup. */
  readonly batchSize: number;
}

interface Outcome {
  readonly received: number[];
  readonly head?: Extract<RelayAction, { type: 'send-head' }>;
  readonly ends: string[];
  readonly blames: Array<Extract<RelayAction, { type: 'blame' }>>;
  readonly isClientGone: boolean;
  /** How many bytes of a part came before it was that part's turn, and went to the client then. */
  readonly aheadCount: number;
  /** Whose bytes the client got, and whose the machine says that it got. */
  readonly senders: ReadonlySet<Provider>;
  readonly sources: readonly Provider[];
}

export const NEVER = 1_000_000;
/** What peers and the client do at any time; the rest happens in its order. */
const FREE: ReadonlySet<string> = new Set(['chunk', 'taken', 'head', 'failed', 'late']);

/** Plays a world against the machine, and holds it to what an event loop may rely on. */
export function play(given: World): Outcome {
  const { content, plan, scripts, deadlineAt, clientGoneAt, giveWayAt, slowAt, turnsAt, aloneAt, batchSize } = given;
  const providers = scripts.map((_, index): Provider => ({ peerId: `p${index}`, address: `10.0.0.${index}:1` }));
  let state: RelayState = startRelay(plan);
  const received: number[] = [];
  let kept: number[] = [];
  const ends: string[] = [];
  const blames: Outcome['blames'] = [];
  let head: Outcome['head'];
  const bodies = new Map<number, { provider: number; offset: number; end: number; left: number }>();
  const stored = new Map<number, number[]>();
  const providerOf = new Map<number, Provider>();
  const senders = new Set<Provider>();
  let taken = plan.start;
  let aheadCount = 0;
  const heldAt = new Set<number>();
  const pending: Array<{ event: RelayEvent; after?: RelayEvent }> = [];

  const step = (event: RelayEvent, bytes: number[] = []) => {
    if (event.type === 'head') answered = Math.max(answered, event.attempt);
    const next = stepRelay(state, event);
    state = next.state;
    const from = event.type === 'chunk' ? event.attempt : undefined;
    for (const action of next.actions) perform(action, bytes, from);
    assert.ok(!needsMore(state) || bodies.size === 0, 'nobody is looked for while somebody sends');
    const isNext = ({ id }: { readonly id: number }) => id === state.turns?.parts[0]?.id;
    const waitedFor = state.turns?.asked.find((one) => isNext(one) && one.isLate && !one.hasHead);
    assert.equal(waitedFor, undefined, 'who is late is not waited for');
  };

  /** Who sent alone before two did in turns is not left before the other one has answered. */
  let sentAlone: number | undefined;
  let answered = -1;

  const passed = (
    action: { readonly part?: number; readonly byteCount?: number },
    bytes: number[],
    from: number | undefined,
  ) => {
    senders.add(providerOf.get(action.part ?? from ?? -1) as Provider);
    if (action.part === undefined) return bytes.slice(0, action.byteCount);
    const part = stored.get(action.part) ?? [];
    assert.ok(part.length > 0 && part.length === (action.byteCount ?? part.length), 'all that was stored of the part');
    stored.delete(action.part);
    aheadCount += part.length;
    return part;
  };

  const perform = (action: RelayAction, bytes: number[], from: number | undefined) => {
    assert.equal(ends.length, 0, 'nothing happens after the end');
    switch (action.type) {
      case 'ask':
        return answer(action);
      case 'read':
        return void pending.push({ event: { type: 'chunk', attempt: action.attempt, byteCount: 0 } });
      case 'cancel':
        heldAt.delete(action.attempt);
        if (state.turns !== undefined && action.attempt === sentAlone)
          assert.ok(answered > sentAlone, 'left for somebody');
        return void bodies.delete(action.attempt);
      case 'hold':
        return void heldAt.add(action.attempt);
      case 'unhold':
        heldAt.delete(action.attempt);
        return void pending.push({ event: { type: 'chunk', attempt: action.attempt, byteCount: 0 } });
      case 'send-head':
        assert.equal(head, undefined, 'one head');
        head = action;
        return;
      case 'deliver':
        assert.notEqual(head, undefined, 'no byte before the head');
        pending.push({ event: { type: 'taken', offset: 0 } });
        return void received.push(...passed(action, bytes, from));
      case 'keep':
        return void kept.push(...passed(action, bytes, from));
      case 'store':
        return store(action.attempt, bytes);
      case 'drop-stored':
        return stored.clear();
      case 'drop-kept':
        kept = [];
        if (head === undefined) senders.clear();
        return;
      case 'deliver-kept':
        assert.notEqual(head, undefined, 'no byte before the head');
        return void received.push(...kept);
      case 'verify': {
        const isRight = String([...received, ...kept]) === String(content);
        return void pending.unshift({ event: { type: 'verified', isRight } });
      }
      case 'blame':
        return void blames.push(action);
      case 'resumed':
      case 'switched':
        return;
      case 'began-turns':
        sentAlone = state.turns?.parts[0]?.id;
        return;
      case 'finish':
      case 'cut':
      case 'give-up':
        return void ends.push(action.type);
    }
  };

  const answer = ({ attempt, provider, start, end }: Extract<RelayAction, { type: 'ask' }>) => {
    const index = providers.indexOf(provider);
    const behaviour = scripts[index] as Script;
    const waitedFor = state.attempts.filter(({ id, isLate }) => !isLate && !heldAt.has(id));
    assert.ok(waitedFor.length <= 1, 'only who is late is not waited for');
    const answered = (event: RelayEvent) => {
      pending.push(behaviour.isLate === true ? { event: { type: 'late', attempt }, after: event } : { event });
    };
    if (behaviour.answer === 'absent' || behaviour.answer === 'unavailable') {
      answered({ type: 'failed', attempt, fault: behaviour.answer });
      return;
    }
    assert.ok(state.turns === undefined || (end ?? NEVER) - taken <= (plan.turns?.windowBytes ?? 0), 'in the window');
    assert.ok(!bodies.values().some((body) => body.provider === index), 'one request at a time');
    providerOf.set(attempt, provider);
    assert.ok(start === 0 || start < (state.size?.wholeBytes ?? NEVER), 'something is left to ask for');
    const sizeBytes = content.length + (behaviour.answer === 'wrong-size' ? 1 : 0);
    const left = behaviour.breaksAfter ?? NEVER;
    bodies.set(attempt, { provider: index, offset: start, end: Math.min(end ?? NEVER, sizeBytes), left });
    assert.ok(bodies.size <= 2, 'two at a time');
    assert.ok(end === undefined || start < end);
    answered({ type: 'head', attempt, sizeBytes });
  };

  /** The next bytes of a body, or its failure. */
  const read = (attempt: number) => {
    const body = bodies.get(attempt);
    if (body === undefined || heldAt.has(attempt)) return;
    const { corruptAt, chunkBytes } = scripts[body.provider] as Script;
    const count = Math.min(chunkBytes, body.end - body.offset, body.left);
    if (count <= 0) {
      bodies.delete(attempt);
      step(body.offset < body.end ? { type: 'failed', attempt, fault: 'broke-off' } : { type: 'ended', attempt });
      return;
    }
    const bytes = Array.from({ length: count }, (_, index) => {
      const at = body.offset + index;
      return at === corruptAt ? 255 : (content[at] ?? 254);
    });
    body.offset += count;
    body.left -= count;
    pending.push({ event: { type: 'chunk', attempt, byteCount: 0 } });
    step({ type: 'chunk', attempt, byteCount: count }, bytes);
  };

  const store = (attempt: number, bytes: number[]) => {
    stored.set(attempt, [...(stored.get(attempt) ?? []), ...bytes]);
    const storedBytes = stored.values().reduce((sum, part) => sum + part.length, 0);
    assert.ok(storedBytes <= (plan.turns?.windowBytes ?? 0), 'no more in memory than was allowed');
  };

  /** The client takes some more of what it was sent. */
  const take = () => {
    taken = Math.min(plan.start + received.length, taken + given.takenBytes);
    if (taken < plan.start + received.length) pending.push({ event: { type: 'taken', offset: 0 } });
    step({ type: 'taken', offset: taken });
  };

  const inTurns = (count: number) => {
    const attempt = state.attempts.find(({ isChosen }) => isChosen)?.id ?? 0;
    const other = state.queue[count % state.queue.length] ?? providers[0];
    if (other !== undefined) step({ type: 'in-turns', attempt, other, taken });
  };

  const alone = (count: number) => {
    const provider = state.turns?.peers[count % 2] ?? providers[0];
    if (provider !== undefined) step({ type: 'alone', provider });
  };

  const slow = (count: number) => {
    const attempt = state.attempts.find(({ isChosen }) => isChosen)?.id ?? 0;
    const faster = state.queue[count % state.queue.length] ?? providers[0];
    if (faster !== undefined) step({ type: 'slow', attempt, faster });
  };

  const lookups: RelayEvent[] = [];
  const happen = (count: number) => {
    const isFound = pending.length === 0 || given.order[count % given.order.length] === 5;
    const found = isFound && pending[0]?.event.type !== 'verified' ? lookups.shift() : undefined;
    if (found !== undefined) return { event: found, after: undefined };
    const isFree = (index: number) => FREE.has(pending[index]?.event.type ?? '');
    const chosen = (given.order[count % given.order.length] ?? 0) % Math.max(1, pending.length);
    const [next] = pending.splice(isFree(0) && isFree(chosen) ? chosen : 0, 1);
    return next;
  };

  for (let from = 0; from < providers.length; from += batchSize) {
    lookups.push({ type: 'found', providers: providers.slice(from, from + batchSize) });
  }
  lookups.push({ type: 'search-ended' });
  for (let count = 0; state.phase !== 'over'; count += 1) {
    assert.ok(count < 10_000, 'it ends');
    if (count === clientGoneAt) step({ type: 'client-gone' });
    else if (count === deadlineAt) step({ type: 'deadline' });
    else if (count === giveWayAt) step({ type: 'give-way' });
    else if (slowAt.includes(count)) slow(count);
    else if (turnsAt.includes(count)) inTurns(count);
    else if (aloneAt.includes(count)) alone(count);
    else {
      const next = happen(count);
      assert.ok(next, 'it never waits for something that cannot come');
      if (next.event.type === 'chunk') read(next.event.attempt);
      else if (next.event.type === 'taken') take();
      else step(next.event);
      if (next.after !== undefined) pending.push({ event: next.after });
    }
  }
  const { sources } = state;
  return {
    received,
    ...(head !== undefined && { head }),
    ends,
    blames,
    isClientGone: ends.length === 0,
    aheadCount,
    senders,
    sources,
  };
}
