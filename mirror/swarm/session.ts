import type { Connection, Stream } from '@libp2p/interface';
import { hasCode } from '../../common/errors.ts';
import { formatHostPort } from '../../common/host-port.ts';
import { canonicalIp } from './membership.ts';
import type { DropReason } from './metrics.ts';
import { raiseWindowRarely } from './rare-window.ts';
import type { Want } from './router.ts';
import {
  createFrameParser,
  FRAME_GETS_MAX,
  type Frame,
  formatFrame,
  type HelloFrame,
  type KeyHash,
  type ReplyFrame,
  type RequestFrame,
  type WireEntry,
  type WireProgress,
  type WireProvider,
} from './wire.ts';

/** A conversation with another member, on one stream of one connection. */
export interface Session {
  /** The peer id that the other end proved. */
  readonly peerId: string;
  /** Where the other's peer server listens. */
  readonly address: string;
  /** Where the other can be dialed, if what it is seen from is what it listens on. */
  readonly swarmAddress: string;
  /** How long the last answer took; 0 before the first. */
  readonly roundTripMs: number;
  /** Resolves true when the other has taken the entries; false when the session ended or the answer did not come. */
  add(entries: readonly WireEntry[]): Promise<boolean>;
  remove(keys: readonly KeyHash[]): Promise<boolean>;
  /** Who has the key, by what the other knows. Undefined when the session ended or the answer did not come. */
  get(key: KeyHash, limit: number): Promise<readonly WireProvider[] | undefined>;
  /** What to do about content that nobody has, by what the other knows. Undefined as for `get`. */
  claim(key: KeyHash, want: Want): Promise<WireClaim | undefined>;
  receive(entries: readonly WireProgress[]): Promise<boolean>;
  release(keys: readonly KeyHash[]): Promise<boolean>;
  /** To be called every second or so: keeps the session alive, or drops it. `isLate`: this process itself was held up. */
  beat(isLate: boolean): void;
  /** Ends it in order. */
  close(): void;
  /** Ends it at once, for a reason that is counted. */
  drop(reason: DropReason): void;
}

export type WireClaim = Pick<Extract<ReplyFrame, { type: 'claimed' }>, 'role' | 'providers'>;

interface SessionDeps {
  readonly connection: Connection;
  readonly stream: Stream;
  readonly hello: HelloFrame;
  /** 0 to 1. */
  readonly random: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Called once, when the other has introduced itself; before any request of its. */
  readonly onOpen: (session: Session) => void;
  /** Answers a request. Undefined: nobody may ask that; the session is dropped. */
  readonly onRequest: (session: Session, request: RequestFrame) => ReplyFrame | undefined;
  /** Called once, if it opened or not, with the reason if this end dropped it. */
  readonly onEnd: (session: Session, reason?: DropReason) => void;
}

/** A session that has said nothing for this long says that it lives. */
const BEAT_MS = 3_000;
/** Two beats and a second: what is silent for longer hangs, and is to be asked no more. The promise is 10 s. */
const SILENCE_MS_MAX = 7_000;
/** Much longer than any answer takes, and the same as for silence: then the session is dropped anyway. */
const REPLY_MS_MAX = 5_000;
/** What a member may ask for: a frame is one unit and so is each of its keys. A full re-announcement is 50,000. */
const UNITS_BURST = 100_000;
const UNITS_A_SECOND = 20_000;
/** If a member reads so slowly that this much piles up, it is as good as hung. */
const UNSENT_BYTES_MAX = 16 * 1024 * 1024;

const ANSWERS = {
  get: 'found',
  claim: 'claimed',
  add: 'ack',
  remove: 'ack',
  receive: 'ack',
  release: 'ack',
} as const satisfies Record<RequestFrame['type'], ReplyFrame['type']>;

interface PendingReply {
  readonly type: ReplyFrame['type'];
  readonly lists: number;
  readonly sentAt: number;
  readonly timer: NodeJS.Timeout;
  readonly settle: (reply: ReplyFrame | undefined) => void;
}

interface WaitingGet {
  readonly key: KeyHash;
  readonly limit: number;
  readonly settle: (providers: readonly WireProvider[] | undefined) => void;
}

/** Most of what is ever sent. */
const BEAT = formatFrame({ type: 'beat' });

type Unnumbered<R> = R extends RequestFrame ? Omit<R, 'id'> : never;

export function openSession(deps: SessionDeps): Session {
  const { connection, stream, now } = deps;
  const parser = createFrameParser();
  const pending = new Map<number, PendingReply>();
  const budget = { units: UNITS_BURST, at: now() };
  const startedAt = now();
  const waitingGets: WaitingGet[] = [];
  let peer: { readonly address: string; readonly swarmAddress: string } | undefined;
  let lastId = 0;
  let roundTripMs = 0;
  let heardAt = startedAt;
  /** At first in the past by chance, so that the beats to many members are spread. */
  let sentAt = startedAt - deps.random() * BEAT_MS;
  let hasEnded = false;

  const end = (reason?: DropReason): void => {
    if (hasEnded) return;
    hasEnded = true;
    for (const { settle } of pending.values()) settle(undefined);
    for (const { settle } of waitingGets) settle(undefined);
    deps.onEnd(session, reason);
  };

  const drop = (reason: DropReason): void => {
    end(reason);
    connection.abort(new Error(`dropped: ${reason}`));
  };

  const close = (): void => {
    end();
    connection.close().catch((error: Error) => connection.abort(error));
  };

  const send = (frame: Exclude<Frame, { type: 'beat' }>): void => sendBytes(formatFrame(frame));

  const sendBytes = (bytes: Uint8Array): void => {
    if (hasEnded) return;
    sentAt = now();
    try {
      stream.send(bytes);
    } catch {
      close(); // The stream has closed, and its event is on the way.
    }
  };

  const request = (unnumbered: Unnumbered<RequestFrame>): Promise<ReplyFrame | undefined> => {
    if (hasEnded) return Promise.resolve(undefined);
    lastId = (lastId + 1) >>> 0;
    const id = lastId;
    return new Promise((resolve) => {
      const settle = (reply: ReplyFrame | undefined) => {
        clearTimeout(timer);
        pending.delete(id);
        resolve(reply);
      };
      const timer = setTimeout(() => settle(undefined), REPLY_MS_MAX).unref();
      const type = ANSWERS[unnumbered.type];
      pending.set(id, {
        type,
        lists: unnumbered.type === 'get' ? unnumbered.keys.length : 0,
        sentAt: now(),
        timer,
        settle,
      });
      send({ ...unnumbered, id });
    });
  };

  /** Lookups of one moment travel together. */
  const sendWaitingGets = async (): Promise<void> => {
    const gets = waitingGets.splice(0, FRAME_GETS_MAX);
    const limit = Math.max(...gets.map((get) => get.limit));
    const reply = await request({ type: 'get', limit, keys: gets.map(({ key }) => key) });
    for (const [index, { settle }] of gets.entries()) {
      settle(reply?.type === 'found' ? reply.providers[index]?.slice(0, gets[index]?.limit) : undefined);
    }
  };

  const onReply = (reply: ReplyFrame): void => {
    const waiting = pending.get(reply.id);
    if (waiting === undefined) return; // It came too late.
    const lists = reply.type === 'found' ? reply.providers.length : 0;
    if (waiting.type !== reply.type || waiting.lists !== lists) {
      drop('frame');
      return;
    }
    roundTripMs = now() - waiting.sentAt;
    waiting.settle(reply);
  };

  const onFrame = (frame: Frame): void => {
    if (!spend(budget, unitsOf(frame), now())) {
      drop('flood');
    } else if ((frame.type === 'hello') === (peer !== undefined)) {
      drop('frame'); // The first frame is a hello, and no other is.
    } else if (frame.type === 'hello') {
      peer = introduce(connection, frame);
      deps.onOpen(session);
    } else if (frame.type === 'ack' || frame.type === 'found' || frame.type === 'claimed') {
      onReply(frame);
    } else if (frame.type !== 'beat') {
      const reply = deps.onRequest(session, frame);
      if (reply === undefined) drop('frame');
      else send(reply);
    }
  };

  const onBytes = (chunk: Uint8Array): void => {
    try {
      for (const frame of parser.push(chunk)) {
        if (hasEnded) return;
        onFrame(frame);
      }
    } catch (error) {
      if (!hasCode(error, 'ERR_SWARM_FRAME_INVALID')) throw error;
      drop('frame');
    }
  };

  const session: Session = {
    peerId: connection.remotePeer.toString(),
    get address() {
      return peer?.address ?? '';
    },
    get swarmAddress() {
      return peer?.swarmAddress ?? '';
    },
    get roundTripMs() {
      return roundTripMs;
    },
    add: async (entries) => (await request({ type: 'add', entries })) !== undefined,
    remove: async (keys) => (await request({ type: 'remove', keys })) !== undefined,
    get: (key, limit) =>
      new Promise((settle) => {
        if (hasEnded) return settle(undefined);
        waitingGets.push({ key, limit, settle });
        if (waitingGets.length % FRAME_GETS_MAX === 1) queueMicrotask(() => void sendWaitingGets());
      }),
    claim: async (key, { offset, patienceMs, isFirst = false }) => {
      const reply = await request({ type: 'claim', key, offset, patienceMs, isFirst });
      return reply?.type === 'claimed' ? reply : undefined;
    },
    receive: async (entries) => (await request({ type: 'receive', entries })) !== undefined,
    release: async (keys) => (await request({ type: 'release', keys })) !== undefined,
    beat: (isLate) => {
      if (isLate) heardAt = now(); // What it sent meanwhile is still to be read.
      if (now() - heardAt > SILENCE_MS_MAX) drop('hung');
      else if (now() - sentAt >= BEAT_MS) sendBytes(BEAT);
    },
    close,
    drop,
  };

  // Beats keep it in use as far as libp2p's own, much longer timeout goes.
  stream.maxWriteBufferLength = UNSENT_BYTES_MAX;
  raiseWindowRarely(stream);
  stream.addEventListener('message', ({ data }) => {
    heardAt = now();
    for (const chunk of data instanceof Uint8Array ? [data] : data) {
      if (!hasEnded) onBytes(chunk);
    }
  });
  stream.addEventListener('close', close);
  stream.addEventListener('remoteCloseWrite', close);
  connection.addEventListener('close', close);
  stream.send(formatFrame(deps.hello));
  return session;
}

/** Where the other is reached: at the address it says, or else the one it is seen at. */
function introduce(connection: Connection, hello: HelloFrame) {
  const parts = connection.remoteAddr.getComponents();
  const seenAt = canonicalIp(parts.find(({ name }) => name === 'ip4' || name === 'ip6')?.value ?? '');
  return {
    address: formatHostPort({ host: hello.host ?? seenAt, port: hello.peerPort }),
    swarmAddress: formatHostPort({ host: seenAt, port: hello.swarmPort }),
  };
}

/** Takes the units from the budget, which fills again with time. False when there are not enough. */
function spend(budget: { units: number; at: number }, units: number, now: number): boolean {
  budget.units = Math.min(UNITS_BURST, budget.units + ((now - budget.at) / 1000) * UNITS_A_SECOND) - units;
  budget.at = now;
  return budget.units >= 0;
}

function unitsOf(frame: Frame): number {
  switch (frame.type) {
    case 'add':
    case 'receive':
      return 1 + frame.entries.length;
    case 'remove':
    case 'release':
    case 'get':
      return 1 + frame.keys.length;
    // We asked for them: they cost what our questions did.
    case 'ack':
    case 'found':
    case 'claimed':
    case 'claim':
    case 'hello':
    case 'beat':
      return 1;
  }
}
