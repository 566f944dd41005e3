import { createHash } from 'node:crypto';
import { parseHost, parseHostPort } from '../../common/host-port.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Key } from './router.ts';
import { invalid, LENGTH_BYTES, Reader, Writer } from './wire-bytes.ts';

/*
 * What members say to each other, in frames on one long-lived stream a pair. All numbers are big-endian.
 *
 *   frame    = length:u32 version:u8 type:u8 id:u32 payload      length counts what follows it
 *   hello    = peerPort:u16 swarmPort:u16 host:text8             id 0; host empty: the address the member is seen at
 *   beat     =                                                   id 0
 *   add      = count:u16 (key:32 tag)*                           answered by ack
 *   remove   = count:u16 (key:32)*                               answered by ack
 *   ack      =
 *   get      = limit:u8 count:u16 (key:32)*                      answered by found, its lists in the order of the keys
 *   found    = count:u16 (count:u8 (peerId:text8 address:text16 tag)*)*
 *   claim    = key:32 offset:u48 patienceMs:u16 isFirst:u8       answered by claimed
 *   claimed  = role:u8 count:u8 (peerId:text8 address:text16)*   role: 0 lead, 1 follow, 2 held
 *   receive  = count:u16 (key:32 offset:u48 isWhole:u8)*         answered by ack
 *   release  = count:u16 (key:32)*                               answered by ack
 *   tag      = 0:u8 | 1:u8 digest:32 ageMs:u48
 *   text8/16 = length:u8/u16 ascii
 *
 * In `found` and `claimed` the sender names itself by an empty peer id and address.
 */

declare const keyHashBrand: unique symbol;

/**
 * sha256 of a key, as 32 latin-1 characters: half the memory of the digest it stands for, and one form for digests and
 * tags, whose names so never leave the nodes that hold them.
 */
export type KeyHash = string & { readonly [keyHashBrand]: true };

/** What a tag stands for, and how long ago it was resolved: clocks of members need not agree. */
export interface TagAge {
  readonly digest: Digest;
  readonly ageMs: number;
}

export interface WireEntry {
  readonly key: KeyHash;
  readonly tag?: TagAge;
}

/** Without a peer id and an address it is the member that sent it. */
export interface WireProvider {
  readonly peer?: { readonly peerId: string; readonly address: string };
  readonly tag?: TagAge;
}

/** How much of what a key stands for a member has received. */
export interface WireProgress {
  readonly key: KeyHash;
  readonly offset: number;
  readonly isWhole: boolean;
}

export type ClaimRole = (typeof ROLES)[number];

export interface HelloFrame {
  readonly type: 'hello';
  readonly peerPort: number;
  readonly swarmPort: number;
  readonly host?: string;
}

export type RequestFrame =
  | { readonly type: 'add'; readonly id: number; readonly entries: readonly WireEntry[] }
  | { readonly type: 'remove'; readonly id: number; readonly keys: readonly KeyHash[] }
  | { readonly type: 'get'; readonly id: number; readonly limit: number; readonly keys: readonly KeyHash[] }
  | {
      readonly type: 'claim';
      readonly id: number;
      readonly key: KeyHash;
      readonly offset: number;
      readonly patienceMs: number;
      readonly isFirst: boolean;
    }
  | { readonly type: 'receive'; readonly id: number; readonly entries: readonly WireProgress[] }
  | { readonly type: 'release'; readonly id: number; readonly keys: readonly KeyHash[] };

export type ReplyFrame =
  | { readonly type: 'ack'; readonly id: number }
  | { readonly type: 'found'; readonly id: number; readonly providers: ReadonlyArray<readonly WireProvider[]> }
  | {
      readonly type: 'claimed';
      readonly id: number;
      readonly role: ClaimRole;
      /** Without tags. */
      readonly providers: readonly WireProvider[];
    };

export type Frame = HelloFrame | { readonly type: 'beat' } | RequestFrame | ReplyFrame;

/** 16 keys with 32 providers of the longest address each is the largest honest frame; it fits with room to spare. */
export const FRAME_BYTES_MAX = 256 * 1024;
/** Keeps one frame to some 100 KiB and a fraction of a millisecond of work. */
export const FRAME_ENTRIES_MAX = 1024;
/** Bounds the answer to what a frame can hold. */
export const FRAME_GETS_MAX = 16;
/** A puller asks a few peers; more names would only be read and thrown away. */
export const FRAME_PROVIDERS_MAX = 32;

const VERSION = 1;
const HEADER_BYTES = 1 + 1 + 4;
const TYPES = [
  'hello',
  'beat',
  'add',
  'remove',
  'ack',
  'get',
  'found',
  'claim',
  'claimed',
  'receive',
  'release',
] as const satisfies ReadonlyArray<Frame['type']>;
const ROLES = ['lead', 'follow', 'held'] as const;
/** Base58 without a prefix, as libp2p writes ed25519 and RSA peer ids. */
const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{32,64}$/;

export function hashKey(key: Key): KeyHash {
  return createHash('sha256').update(key).digest('latin1') as KeyHash;
}

/** The whole frame, its length included. The caller keeps within the limits above. */
export function formatFrame(frame: Frame): Uint8Array {
  const writer = new Writer();
  writer.u8(VERSION);
  writer.u8(TYPES.indexOf(frame.type));
  writer.u32('id' in frame ? frame.id : 0);
  writePayload(writer, frame);
  return writer.finish();
}

/** Parses what follows a frame's length. Throws ERR_SWARM_FRAME_INVALID, and nothing else, for whatever bytes. */
export function parseFrame(body: Buffer): Frame {
  const reader = new Reader(body);
  const version = reader.u8();
  if (version !== VERSION) throw invalid(`version ${version}`);
  const type = TYPES[reader.u8()];
  if (type === undefined) throw invalid('unknown type');
  const frame = readPayload(reader, type, reader.u32());
  reader.end();
  return frame;
}

export interface FrameParser {
  /** The frames that are whole with this chunk. Throws ERR_SWARM_FRAME_INVALID; then the stream is of no more use. */
  push(chunk: Uint8Array): Frame[];
}

/** Cuts a stream of bytes into frames. Holds at most one frame, and no more of it than has arrived or was promised. */
export function createFrameParser(): FrameParser {
  const length = Buffer.alloc(LENGTH_BYTES);
  let target: Buffer = length;
  let filled = 0;

  const take = (): Frame | undefined => {
    filled = 0;
    if (target !== length) {
      const frame = parseFrame(target);
      target = length;
      return frame;
    }
    const bytes = length.readUInt32BE();
    if (bytes < HEADER_BYTES || bytes > FRAME_BYTES_MAX) throw invalid(`length ${bytes}`);
    target = Buffer.alloc(bytes);
    return undefined;
  };

  return {
    push: (chunk) => {
      const frames: Frame[] = [];
      for (let offset = 0; offset < chunk.length; ) {
        const part = chunk.subarray(offset, offset + target.length - filled);
        target.set(part, filled);
        filled += part.length;
        offset += part.length;
        if (filled < target.length) break;
        const frame = take();
        if (frame !== undefined) frames.push(frame);
      }
      return frames;
    },
  };
}

function writePayload(writer: Writer, frame: Frame): void {
  switch (frame.type) {
    case 'hello':
      writer.u16(frame.peerPort);
      writer.u16(frame.swarmPort);
      writer.text8(frame.host ?? '');
      return;
    case 'beat':
    case 'ack':
      return;
    case 'add':
      writer.u16(frame.entries.length);
      for (const { key, tag } of frame.entries) {
        writer.key(key);
        writer.tag(tag);
      }
      return;
    case 'claim':
      writer.key(frame.key);
      writer.u48(frame.offset);
      writer.u16(frame.patienceMs);
      writer.u8(frame.isFirst ? 1 : 0);
      return;
    case 'claimed':
      writer.u8(ROLES.indexOf(frame.role));
      writer.u8(frame.providers.length);
      for (const { peer } of frame.providers) {
        writer.text8(peer?.peerId ?? '');
        writer.text16(peer?.address ?? '');
      }
      return;
    case 'receive':
      writer.u16(frame.entries.length);
      for (const { key, offset, isWhole } of frame.entries) {
        writer.key(key);
        writer.u48(offset);
        writer.u8(isWhole ? 1 : 0);
      }
      return;
    case 'remove':
    case 'release':
      writer.u16(frame.keys.length);
      for (const key of frame.keys) writer.key(key);
      return;
    case 'get':
      writer.u8(frame.limit);
      writer.u16(frame.keys.length);
      for (const key of frame.keys) writer.key(key);
      return;
    case 'found':
      writer.u16(frame.providers.length);
      for (const list of frame.providers) {
        writer.u8(list.length);
        for (const { peer, tag } of list) {
          writer.text8(peer?.peerId ?? '');
          writer.text16(peer?.address ?? '');
          writer.tag(tag);
        }
      }
      return;
  }
}

function readPayload(reader: Reader, type: Frame['type'], id: number): Frame {
  switch (type) {
    case 'hello':
      return readHello(reader, id);
    case 'beat':
      if (id !== 0) throw invalid('beat with an id');
      return { type };
    case 'ack':
      return { type, id };
    case 'add':
      return { type, id, entries: reader.list(reader.count16(FRAME_ENTRIES_MAX), () => readEntry(reader)) };
    case 'claim':
      return {
        type,
        id,
        key: reader.key(),
        offset: reader.u48(),
        patienceMs: reader.u16(),
        isFirst: reader.u8() !== 0,
      };
    case 'claimed': {
      const role = ROLES[reader.u8()];
      if (role === undefined) throw invalid('unknown role');
      return { type, id, role, providers: reader.list(reader.count8(FRAME_PROVIDERS_MAX), () => readPeer(reader)) };
    }
    case 'receive': {
      const readProgress = () => ({ key: reader.key(), offset: reader.u48(), isWhole: reader.u8() !== 0 });
      return { type, id, entries: reader.list(reader.count16(FRAME_ENTRIES_MAX), readProgress) };
    }
    case 'remove':
    case 'release':
      return { type, id, keys: reader.list(reader.count16(FRAME_ENTRIES_MAX), () => reader.key()) };
    case 'get': {
      const limit = reader.u8();
      if (limit < 1 || limit > FRAME_PROVIDERS_MAX) throw invalid(`limit ${limit}`);
      return { type, id, limit, keys: reader.list(reader.count16(FRAME_GETS_MAX), () => reader.key()) };
    }
    case 'found': {
      const readList = () => reader.list(reader.count8(FRAME_PROVIDERS_MAX), () => readProvider(reader));
      return { type, id, providers: reader.list(reader.count16(FRAME_GETS_MAX), readList) };
    }
  }
}

function readHello(reader: Reader, id: number): HelloFrame {
  const peerPort = reader.u16();
  const swarmPort = reader.u16();
  const text = reader.text(reader.u8());
  if (id !== 0 || peerPort === 0 || swarmPort === 0) throw invalid('hello without ports');
  if (text === '') return { type: 'hello', peerPort, swarmPort };
  const host = parseHost(text);
  if (host !== text) throw invalid('hello with a host that is none');
  return { type: 'hello', peerPort, swarmPort, host };
}

function readEntry(reader: Reader): WireEntry {
  const key = reader.key();
  const tag = reader.tag();
  return { key, ...(tag !== undefined && { tag }) };
}

function readProvider(reader: Reader): WireProvider {
  const provider = readPeer(reader);
  const tag = reader.tag();
  return { ...provider, ...(tag !== undefined && { tag }) };
}

function readPeer(reader: Reader): Pick<WireProvider, 'peer'> {
  const peerId = reader.text(reader.u8());
  const address = reader.text(reader.u16());
  if (peerId === '' && address === '') return {};
  if (!PEER_ID.test(peerId)) throw invalid('provider without a peer id');
  if (parseHostPort(address) === undefined) throw invalid('provider without an address');
  return { peer: { peerId, address } };
}
