/** What a peer can do wrong with what it is asked for. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Answer, type Asked, honestly, type PeerContent, sendBytes, sendHead } from './faulty-peer.ts';

/** Where in the content: a byte by its offset, from the end if it is negative, or a half. */
export type Place = number | 'half';

export function placeIn({ bytes }: PeerContent, place: Place): number {
  if (place === 'half') return Math.floor(bytes.length / 2);
  return place < 0 ? bytes.length + place : place;
}

/** Does this to one kind of content when it is to send it, and nothing wrong to the rest. */
export function onThe(kind: PeerContent['kind'], answer: Answer): Answer {
  return (asked) => (asked.kind === kind && asked.method === 'GET' ? answer(asked) : honestly(asked));
}

/** Sends all before the place, and then does something else. */
export function until(place: Place, then: Answer): Answer {
  return async (asked) => {
    const at = placeIn(asked, place);
    if (asked.start > at) return honestly(asked);
    sendHead(asked);
    if (at > asked.start) await sendBytes(asked, asked.start, at);
    else asked.response.flushHeaders();
    await then(asked);
  };
}

export const closes: Answer = ({ response }) => {
  response.socket?.destroy();
};

export const resets: Answer = ({ reset }) => reset();

/** The connection stays, and nothing comes. */
export const hangs: Answer = () => {};

/** Stops at the place until something was done, and sends the rest. */
export function pausesAt(place: Place, act: (asked: Asked) => Promise<void>): Answer {
  return until(place, async (asked) => {
    await act(asked);
    asked.response.end(asked.bytes.subarray(placeIn(asked, place), asked.end));
  });
}

const SLOW_TICK_MS = 100;

export function sendsAt(bytesPerSecond: number): Answer {
  return async (asked) => {
    const step = Math.ceil((bytesPerSecond * SLOW_TICK_MS) / 1000);
    sendHead(asked);
    for (let at = asked.start; at < asked.end && !asked.response.destroyed; at += step) {
      await sendBytes(asked, at, Math.min(at + step, asked.end));
      await delay(SLOW_TICK_MS);
    }
    asked.response.end();
  };
}

export function corrupts(place: Place): Answer {
  return (asked) => {
    const bytes = Buffer.from(asked.bytes);
    const at = placeIn(asked, place);
    bytes[at] = (bytes[at] as number) ^ 1;
    return honestly({ ...asked, bytes });
  };
}

/** Says and sends so many bytes more than there are, or fewer. */
export function sendsLength(difference: number): Answer {
  return (asked) => {
    const bytes =
      difference < 0 ? asked.bytes.subarray(0, difference) : Buffer.concat([asked.bytes, Buffer.alloc(difference)]);
    return honestly({ ...asked, bytes, end: bytes.length });
  };
}

/** Another content, well-formed, under this one's name. */
export function sendsInstead(bytes: Buffer): Answer {
  return (asked) => honestly({ ...asked, bytes, start: 0, end: bytes.length });
}

export function sendsType(mediaType: string): Answer {
  return (asked) => honestly({ ...asked, mediaType });
}

export function refuses(status: number): Answer {
  return ({ response }) => {
    response.writeHead(status, { 'Content-Length': 0 }).end();
  };
}
