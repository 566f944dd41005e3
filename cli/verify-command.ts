import { formatHostPort, type HostPort } from '../common/host-port.ts';
import { parseImageReference } from '../common/oci/reference.ts';
import { formatBytes } from './format-status.ts';
import { EXIT_MISTAKE, EXIT_OK, type ProgramDeps } from './program.ts';
import { type FoundPart, findImage, type ImageFinding, measure, type Speed } from './verify-image.ts';

/** Something of the image comes from the registry alone. */
const EXIT_MISSING = 1;
const DIGEST_CHARS = 'sha256:'.length + 12;

interface VerifyOptions {
  readonly image: string;
  /** The mirror's local registry. */
  readonly address: HostPort;
}

/** Asks the mirror of this node for an image, as containerd would, and prints what it has of it. Nothing is kept. */
export async function runVerify(
  { stdout, stderr }: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  { image, address }: VerifyOptions,
  isJson: boolean,
  signal: AbortSignal,
): Promise<number> {
  const reference = parseImageReference(image);
  if (reference === undefined) {
    stderr(`miroir verify: '${image}' is no image; write its registry out, as in docker.io/library/nginx:1.29\n`);
    return EXIT_MISTAKE;
  }
  const mirror = `http://${formatHostPort(address)}`;
  let finding: ImageFinding;
  try {
    finding = await findImage(mirror, reference, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    stderr(
      `miroir verify: the mirror at ${formatHostPort(address)} does not answer: see whether it runs, or name it with --registry-address\n`,
    );
    return EXIT_MISTAKE;
  }
  const largest = finding.parts.filter(({ source }) => source === 'peer').toSorted((a, b) => b.bytes - a.bytes)[0];
  const speed = largest && (await measure(mirror, reference, largest, signal));
  stdout(isJson ? `${JSON.stringify({ image, ...finding, speed }, undefined, 2)}\n` : format(image, finding, speed));
  return finding.parts.every(({ source }) => source === 'local' || source === 'peer') ? EXIT_OK : EXIT_MISSING;
}

function format(image: string, { parts }: ImageFinding, speed: Speed | undefined): string {
  const lines = parts.map(({ kind, digest, bytes, source, peer }) => {
    const size = bytes === 0 ? '-' : formatBytes(bytes);
    return `${kind.padEnd(8)}  ${digest.slice(0, DIGEST_CHARS).padEnd(DIGEST_CHARS)}  ${size.padStart(8)}  ${SOURCES[source]}${peer === undefined ? '' : `, ${peer}`}\n`;
  });
  const missing = parts.filter(({ source }) => source === 'registry').length;
  const summary = parts.some(({ source }) => source === 'private')
    ? 'its registry does not give it to everybody, and this command has no pull secret'
    : missing === 0
      ? 'this node needs no registry for it'
      : `${missing} of ${parts.length} parts come from the registry`;
  const rate =
    speed &&
    `${formatBytes(speed.bytes)} from ${speed.peer ?? 'peers'} in ${speed.seconds.toFixed(2)} s, ${formatBytes(speed.bytes / speed.seconds)} a second`;
  return `${image}: ${summary}\n\n${lines.join('')}${rate === undefined ? '' : `\n${rate}\n`}`;
}

const SOURCES: Readonly<Record<FoundPart['source'], string>> = {
  local: 'this node',
  peer: 'a peer',
  registry: 'the registry alone',
  private: 'whoever proves the right to it',
};
