import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createManifestCache } from './manifest-cache.ts';

const MEDIA_TYPE = 'application/vnd.oci.image.manifest.v1+json';

test('a cached manifest holds no more memory than its bytes', () => {
  const bytes = Buffer.from('{"schemaVersion":2}');
  const digest = sha256(bytes);
  const cache = createManifestCache({ now: () => 0 }, { bytesMax: 1000, freshMs: 1000 });
  assert.ok(bytes.buffer.byteLength > bytes.length, 'what Node hands out is a part of something larger');

  cache.put({ digest, mediaType: MEDIA_TYPE, bytes });

  const cached = cache.get(digest)?.bytes;
  assert.deepEqual(cached, new Uint8Array(bytes));
  assert.equal(cached.buffer.byteLength, bytes.length);
});
