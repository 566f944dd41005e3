import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { createKnownSizes } from './known-sizes.ts';

const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest;
const manifest = (content: unknown) => ({ bytes: Buffer.from(JSON.stringify(content)) });
const part = (digit: string, size: unknown) => ({ digest: digest(digit), size });

test("a manifest tells the size of its config, its layers and an index's manifests", () => {
  const sizes = createKnownSizes();

  sizes.learn(manifest({ config: part('1', 10), layers: [part('2', 20)] }));
  sizes.learn(manifest({ manifests: [part('3', 30)] }));

  assert.deepEqual(
    ['1', '2', '3', '4'].map((digit) => sizes.of(digest(digit))),
    [10, 20, 30, undefined],
  );
});

test('a size that manifests disagree about is not known, whatever the next one says', () => {
  const sizes = createKnownSizes();
  const learn = (size: number) => sizes.learn(manifest({ layers: [part('1', size)] }));

  learn(10);
  learn(11);
  assert.equal(sizes.of(digest('1')), undefined);
  learn(11);
  assert.equal(sizes.of(digest('1')), undefined);
});

for (const content of [null, 5, [], 'text', { layers: {} }, { layers: [null, 5, {}] }, { config: part('1', '10') }]) {
  test(`nothing is learnt of ${JSON.stringify(content)}`, () => {
    const sizes = createKnownSizes();
    sizes.learn(manifest(content));
    assert.equal(sizes.of(digest('1')), undefined);
  });
}

test('what was named longest ago is forgotten first', () => {
  const sizes = createKnownSizes();
  sizes.learn(manifest({ config: part('1', 10) }));
  for (let index = 0; index < 5; index++) {
    const layers = Array.from({ length: 1000 }, (_, at) => ({
      digest: `sha256:${(index * 1000 + at + 1).toString(16).padStart(64, '0')}`,
      size: 1,
    }));
    sizes.learn(manifest({ layers }));
  }
  assert.equal(sizes.of(digest('1')), undefined);
});
