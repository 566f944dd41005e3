/** `make image`: builds the image here, without a network, runs it, and says what it is. */
import { buildImage, runInImage } from './build-image.ts';

const TAG = 'localhost/miroir:dev';
/** The base is made once, in half a minute. */
const DEADLINE_MS = 10 * 60_000;

const signal = AbortSignal.timeout(DEADLINE_MS);
const { digest, bytes } = await buildImage({ tag: TAG }, signal);
const said = await runInImage(TAG, ['miroir', 'version'], signal);
process.stdout.write(`${TAG}\n${digest}\n${(bytes / 1e6).toFixed(0)} MB unpacked\n${said}\n`);
