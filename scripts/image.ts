/** `make image`: builds the image here, without a network, runs it, and says what it is. */
import { buildImage, runInImage } from './build-image.ts';

const TAG = 'localhost/miroir:dev';
/** What fills it; the rest is little. */
const LARGE_BYTES = 1_000_000;
/** The base is made once, in half a minute. */
const DEADLINE_MS = 10 * 60_000;

const signal = AbortSignal.timeout(DEADLINE_MS);
const { digest, bytes, files } = await buildImage({ tag: TAG }, signal);
const said = await runInImage(TAG, ['miroir', 'version'], signal);
const megabytes = (number: number) => (number / 1e6).toFixed(1);
const large = files
  .filter((file) => file.bytes >= LARGE_BYTES)
  .map((file) => `  ${megabytes(file.bytes)} ${file.name}\n`);
process.stdout.write(`${TAG}\n${digest}\n${megabytes(bytes)} MB unpacked, of which\n${large.join('')}${said}\n`);
