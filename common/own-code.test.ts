import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { codeOf, letGoOfOwnCode } from './own-code.ts';

const MAPS = `00400000-00be8000 r--p 00000000 fe:00 1234    /usr/local/bin/node
00be9000-03be4000 r-xp 007e9000 fe:00 1234    /usr/local/bin/node
03be5000-03be9000 r--p 037e5000 fe:00 1234    /usr/local/bin/node
7f53a2000000-7f53a2010000 rwxp 00000000 00:00 0
7f53a4a28000-7f53a4bbd000 r-xp 00028000 fe:00 99    /usr/lib/libc.so.6
7ffd1d5d6000-7ffd1d5d8000 r-xp 00000000 00:00 0    [vdso]
`;

test('code is what is executable and of the file', () => {
  assert.deepEqual(codeOf(MAPS, '/usr/local/bin/node'), [{ start: 0xbe9000n, end: 0x3be4000n }]);
});

test('of a file that was replaced there is none', () => {
  assert.deepEqual(codeOf(MAPS.replaceAll('bin/node', 'bin/node (deleted)'), '/usr/local/bin/node'), []);
});

test('a process that lets go of its code is smaller, and goes on', () => {
  const before = mappedFileKilobytes();

  assert.ok(letGoOfOwnCode() > 0);

  assert.ok(mappedFileKilobytes() < before - 4096, `${before} kB before, ${mappedFileKilobytes()} after`);
});

function mappedFileKilobytes(): number {
  return Number(/^RssFile:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
