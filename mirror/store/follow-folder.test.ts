import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { followFolder } from './follow-folder.ts';

async function follow(t: TestContext) {
  const root = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-follow-'));
  const folder = path.join(root, 'content/blobs/sha256');
  const names: Array<string | undefined> = [];
  let wake = () => {};
  const start = () => {
    const followed = followFolder({ folder, entry: /^blob/ }, (name) => {
      names.push(name);
      wake();
    });
    t.after(() => followed.close());
    return followed;
  };
  t.after(() => fs.rm(root, { recursive: true, force: true }));
  return {
    root,
    folder,
    start,
    /** Resolves once the name was told, from now on. */
    until: async (name: string | undefined) => {
      const deadline = AbortSignal.timeout(5_000);
      while (!names.splice(0).includes(name)) {
        await new Promise<void>((resolve, reject) => {
          wake = resolve;
          deadline.addEventListener('abort', () => reject(new Error(`${name} was not told`)));
        });
      }
    },
  };
}

test('entries that come, change and go are told by name', async (t) => {
  const { folder, start, until } = await follow(t);
  await fs.mkdir(folder, { recursive: true });
  assert.equal(start().isWatching(), true);
  await until(undefined);

  for (const change of [
    () => fs.writeFile(path.join(folder, 'blob'), 'whole'),
    () => fs.truncate(path.join(folder, 'blob'), 1),
    () => fs.unlink(path.join(folder, 'blob')),
  ]) {
    await change();
    await until('blob');
  }
});

test('a folder that is not there yet is found when it comes', async (t) => {
  const { folder, start, until } = await follow(t);
  start();

  await fs.mkdir(folder, { recursive: true });
  await until(undefined);

  await fs.writeFile(path.join(folder, 'blob'), '');
  await until('blob');
});

test('a folder that is deleted, or moved away, with all above it is followed when it comes back', async (t) => {
  const { root, folder, start, until } = await follow(t);
  await fs.mkdir(folder, { recursive: true });
  const followed = start();
  await until(undefined);

  for (const remove of [
    () => fs.rm(path.join(root, 'content'), { recursive: true }),
    () => fs.rename(path.join(root, 'content'), path.join(root, 'away')),
    () => fs.rm(folder, { recursive: true }),
  ]) {
    await remove();
    await fs.mkdir(folder, { recursive: true });
    followed.check();
    await until(undefined);
    await fs.writeFile(path.join(folder, 'blob'), '');
    await until('blob');
    followed.check(); // Nothing is told when nothing was moved.
  }
});

test('a folder of thousands is followed like any other', async (t) => {
  const { folder, start, until } = await follow(t);
  await fs.mkdir(folder, { recursive: true });
  for (let index = 0; index < 2_000; index += 1) await fs.writeFile(path.join(folder, `blob-${index}`), '');
  start();
  await until(undefined);

  await fs.unlink(path.join(folder, 'blob-1999'));

  await until('blob-1999');
});

test('a folder whose path cannot be looked at is as one that is not there', async (t) => {
  const { root, folder, start, until } = await follow(t);
  await fs.mkdir(folder, { recursive: true });
  start();
  await until(undefined);

  // A link to itself, as a content root may be while it is mounted anew.
  await fs.rename(path.join(root, 'content'), path.join(root, 'gone'));
  await fs.symlink('content', path.join(root, 'content'));
  await fs.rm(path.join(root, 'gone'), { recursive: true });
  await fs.rm(path.join(root, 'content'));
  await fs.mkdir(folder, { recursive: true });

  await until(undefined);
});
