/** `node downloads.ts ADDRESS TARGET COUNT`: so many clients at once that get the same and drop it. */
import { download } from './download.ts';

const [address = '', target = '', count = '1'] = process.argv.slice(2);
await Promise.all(Array.from({ length: Number(count) }, () => download(address, target)));
