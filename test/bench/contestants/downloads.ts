/** `node downloads.ts ADDRESS COUNT TARGET...`: so many clients at once that get each of the targets, and drop what they get, when its input ends. */
import { download } from './download.ts';
import { toldToBegin } from './told-to-begin.ts';

const [address = '', count = '1', ...targets] = process.argv.slice(2);
const clients = Array.from({ length: Number(count) }, () => targets).flat();
await toldToBegin();
await Promise.all(clients.map((target) => download(address, target)));
