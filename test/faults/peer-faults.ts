/** Peers that fail, lie or die. One alone has the image, and behind it there is only the registry. */
import {
  closes,
  corrupts,
  hangs,
  onThe,
  refuses,
  resets,
  sendsAt,
  sendsInstead,
  sendsLength,
  sendsType,
  until,
} from './answers.ts';
import type { Fault, Outcome } from './fault.ts';
import { type Answer, honestly } from './faulty-peer.ts';

interface Bound {
  readonly boundMs: number;
  readonly why: string;
}

const AT_ONCE: Bound = { boundMs: 1_500, why: 'at once' };
const NO_BYTE: Bound = { boundMs: 5_000, why: 'no first byte in 3 s' };
const NO_PROGRESS: Bound = { boundMs: 6_000, why: 'less than 64 KB in 3 s' };

const peer = (name: string, title: string, does: Answer, bound: Bound, outcome: Outcome = 'pulled'): Fault => ({
  name: `peer-${name}`,
  title,
  source: 'peer',
  answer: () => does,
  outcome,
  ...bound,
});

/** Of more than the mirror verifies before it passes it on. */
const COMPARED_LATE: Bound = {
  boundMs: 1_500,
  why: 'containerd compares when it has all ([decision 0010](adr/0010-containerd-verifies-blobs.md))',
};

const PLACES = [
  { at: 0, name: '0', place: 'after the head of a layer' },
  { at: 1, name: '1', place: 'after the first byte of a layer' },
  { at: 'half', name: 'half', place: 'in the middle of a layer' },
  { at: -1, name: 'last', place: 'before the last byte of a layer' },
] as const;

const WRONG = [
  { at: 0, name: 'start', place: 'at the start' },
  { at: 'half', name: 'middle', place: 'in the middle' },
  { at: -1, name: 'end', place: 'at the end' },
] as const;

const VERIFIED = ['manifest', 'config', 'small layer'] as const;

/** A manifest that is one, and not the one that was asked for. */
const OTHER_MANIFEST = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: `sha256:${'0'.repeat(64)}`, size: 2 },
    layers: [],
  }),
);

export const PEER_FAULTS: readonly Fault[] = [
  peer('honest', 'serves the image as it should', honestly, AT_ONCE),
  ...PLACES.map(({ at, name, place }) =>
    peer(`closes-${name}`, `closes the connection ${place}`, onThe('layer', until(at, closes)), AT_ONCE),
  ),
  ...PLACES.map(({ at, name, place }) =>
    peer(`resets-${name}`, `resets the connection ${place}`, onThe('layer', until(at, resets)), AT_ONCE),
  ),
  peer('silent', 'takes requests and answers none', hangs, {
    boundMs: 4_500,
    why: 'no answer in 1.5 s, twice',
  }),
  ...PLACES.map(({ at, name, place }) =>
    peer(
      `hangs-${name}`,
      `sends nothing more ${place}`,
      onThe('layer', until(at, hangs)),
      at === 0 ? NO_BYTE : NO_PROGRESS,
    ),
  ),
  peer('slow', 'sends 10 KB/s', onThe('layer', sendsAt(10_000)), NO_PROGRESS),
  ...WRONG.map(({ at, name, place }) =>
    peer(
      `wrong-${name}`,
      `sends a wrong byte ${place} of a layer`,
      onThe('layer', corrupts(at)),
      COMPARED_LATE,
      'fails once',
    ),
  ),
  ...VERIFIED.map((kind) =>
    peer(`wrong-${kind.replace(' ', '-')}`, `sends a wrong byte in a ${kind}`, onThe(kind, corrupts('half')), AT_ONCE),
  ),
  peer('longer', 'says and sends 9 bytes more than a layer has', onThe('layer', sendsLength(9)), AT_ONCE),
  peer('shorter', 'says and sends 9 bytes less than a layer has', onThe('layer', sendsLength(-9)), AT_ONCE),
  peer('other-manifest', 'sends another manifest', onThe('manifest', sendsInstead(OTHER_MANIFEST)), AT_ONCE),
  peer('type', 'says that a manifest is a web page', onThe('manifest', sendsType('text/html')), AT_ONCE),
  peer('absent', 'answers 404 for what it says it has', refuses(404), AT_ONCE),
  peer('busy', 'answers 429', refuses(429), { boundMs: 2_500, why: 'it may have room in a moment' }),
  peer('broken', 'answers 503', refuses(503), AT_ONCE),
];
