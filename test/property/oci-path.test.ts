import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../../common/oci/digest.ts';
import {
  parseRegistry,
  parseRepository,
  parseTag,
  type Registry,
  type Repository,
  type Tag,
} from '../../common/oci/reference.ts';
import { formatOciPath, type OciPath, parseOciPath } from '../../mirror/registry/oci-path.ts';

const hex = (length: number) =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'.split('')), { minLength: length, maxLength: length })
    .map((digits) => digits.join(''));
const digest = hex(64).map((digits) => `sha256:${digits}` as Digest);
const part = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}$/);
const repository = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/') as Repository);
const tag = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,40}$/).map((text) => text as Tag);
const registry = fc
  .stringMatching(/^[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,3}(:[1-9]\d{0,3})?$/)
  .map((text) => text as Registry);
type Wanted = Exclude<OciPath, { kind: 'base' }> & { readonly registry: Registry };
const path = fc
  .record({ registry, repository, digest, tag, what: fc.constantFrom('blob', 'by digest', 'by tag') })
  .map(({ registry, repository, digest, tag, what }): Wanted => {
    if (what === 'blob') return { kind: 'blob', registry, repository, digest };
    return { kind: 'manifest', registry, repository, reference: what === 'by tag' ? { tag } : { digest } };
  });

test('what is formatted is parsed back', () => {
  fc.assert(
    fc.property(path, (wanted) => {
      assert.deepEqual(parseOciPath(formatOciPath(wanted)), wanted);
    }),
  );
});

test('the registry may be the first part of the name instead', () => {
  fc.assert(
    fc.property(path, (wanted) => {
      const target = formatOciPath(wanted).replace('/v2/', `/v2/${wanted.registry}/`).replace(/\?.*/, '');
      assert.deepEqual(parseOciPath(target), wanted);
    }),
  );
});

test('encoding characters that need none changes nothing', () => {
  fc.assert(
    fc.property(path, fc.nat(), (wanted, seed) => {
      const [before, query] = formatOciPath(wanted).split('?') as [string, string];
      const at = '/v2/'.length + (seed % (before.length - '/v2/'.length));
      fc.pre(before[at] !== '/');
      const code = before.charCodeAt(at).toString(16).padStart(2, '0');
      assert.deepEqual(parseOciPath(`${before.slice(0, at)}%${code}${before.slice(at + 1)}?${query}`), wanted);
    }),
  );
});

test('any text is parsed or refused by a 4xx, and what is parsed is valid', () => {
  const noise = fc.oneof(
    fc.string(),
    fc
      .array(
        fc.constantFrom(
          '/v2',
          '/',
          '//',
          '..',
          '.',
          'a',
          'manifests',
          'blobs',
          '%2f',
          '%2e',
          '?ns=',
          '&ns=a.b',
          '%',
          ':',
        ),
      )
      .map((parts) => `/v2/${parts.join('')}`),
  );
  fc.assert(
    fc.property(noise, (target) => {
      const parsed = parseOciPath(target);
      if ('refused' in parsed) {
        assert.ok(parsed.refused.status >= 400 && parsed.refused.status < 500);
        return;
      }
      if (parsed.kind === 'base') return;
      assert.ok(parseRepository(parsed.repository));
      assert.ok(parsed.registry === undefined || parseRegistry(parsed.registry));
      if (parsed.kind === 'manifest' && parsed.reference.tag !== undefined) assert.ok(parseTag(parsed.reference.tag));
    }),
    { numRuns: 2000 },
  );
});

const A = `sha256:${'a'.repeat(64)}`;
for (const { target, status, code } of [
  { target: `/v2/a//b/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `//v2/a/blobs/${A}`, status: 404, code: 'UNSUPPORTED' },
  { target: `/v2/a/../b/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a/%2e%2e/b/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a%2fb/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a%/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/A/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/${'a'.repeat(256)}/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/blobs/${A}`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/${'a/'.repeat(2000)}blobs/${A}`, status: 414, code: 'NAME_INVALID' },
  { target: '/v2/a/blobs/latest', status: 400, code: 'DIGEST_INVALID' },
  { target: '/v2/a/blobs/sha256:abc', status: 400, code: 'DIGEST_INVALID' },
  { target: `/v2/a/blobs/${A.toUpperCase()}`, status: 400, code: 'DIGEST_INVALID' },
  { target: `/v2/a/blobs/sha512:${'a'.repeat(128)}`, status: 404, code: 'BLOB_UNKNOWN' },
  { target: '/v2/a/manifests/sha256:abc', status: 400, code: 'DIGEST_INVALID' },
  { target: '/v2/a/manifests/.bad', status: 404, code: 'MANIFEST_UNKNOWN' },
  { target: `/v2/a/manifests/${'t'.repeat(129)}`, status: 404, code: 'MANIFEST_UNKNOWN' },
  { target: `/v2/a/blobs/${A}?ns=a.b&ns=a.b`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a/blobs/${A}?ns=`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a/blobs/${A}?ns=a/b`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a/blobs/${A}?ns=%`, status: 400, code: 'NAME_INVALID' },
  { target: `/v2/a/blobs/${A}?n=1`, status: 400, code: 'UNSUPPORTED' },
  { target: '/v2/a/blobs/uploads/', status: 404, code: 'UNSUPPORTED' },
  { target: '/v2/a/tags/list', status: 404, code: 'UNSUPPORTED' },
  { target: '/v2/_catalog', status: 404, code: 'UNSUPPORTED' },
  { target: '/v1/', status: 404, code: 'UNSUPPORTED' },
  { target: '*', status: 404, code: 'UNSUPPORTED' },
  { target: `http://evil.example/v2/a/blobs/${A}`, status: 404, code: 'UNSUPPORTED' },
  { target: '', status: 404, code: 'UNSUPPORTED' },
]) {
  test(`refuses ${target.slice(0, 60)} by ${status} ${code}`, () => {
    const parsed = parseOciPath(target);

    assert.ok('refused' in parsed);
    assert.equal(parsed.refused.status, status);
    assert.equal(parsed.refused.code, code);
  });
}

for (const { target, parsed } of [
  { target: '/v2/', parsed: { kind: 'base' } },
  { target: '/v2', parsed: { kind: 'base' } },
  { target: `/v2/manifests/blobs/blobs/${A}`, parsed: { kind: 'blob', repository: 'manifests/blobs', digest: A } },
  {
    target: '/v2/a/manifests/1?ns=r%3A5000',
    parsed: { kind: 'manifest', registry: 'r:5000', repository: 'a', reference: { tag: '1' } },
  },
  {
    target: '/v2/localhost/a/manifests/1',
    parsed: { kind: 'manifest', registry: 'localhost', repository: 'a', reference: { tag: '1' } },
  },
  {
    target: '/v2/r:5000/a/manifests/1',
    parsed: { kind: 'manifest', registry: 'r:5000', repository: 'a', reference: { tag: '1' } },
  },
  // Where ns is given, the name is all repository: a first part with a dot is none the less one.
  {
    target: '/v2/a.b/c/manifests/1?ns=r.io',
    parsed: { kind: 'manifest', registry: 'r.io', repository: 'a.b/c', reference: { tag: '1' } },
  },
  { target: '/v2/a.b/manifests/1', parsed: { kind: 'manifest', repository: 'a.b', reference: { tag: '1' } } },
]) {
  test(`reads ${target.slice(0, 60)}`, () => {
    assert.deepEqual(parseOciPath(target), parsed);
  });
}
