import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { type AgeLimits, createKnownRights, type Named } from './known-rights.ts';

const OUTAGE: AgeLimits = {
  grantedMsMax: Number.POSITIVE_INFINITY,
  deniedMsMax: Number.POSITIVE_INFINITY,
  privateMsMax: Number.POSITIVE_INFINITY,
};

function contentOf(digit: string): Named {
  return {
    registry: 'hub.example' as Registry,
    repository: 'team/app' as Repository,
    digest: `sha256:${digit.repeat(64)}` as Digest,
  };
}

test('what others remember of one image opens no repository that this node was refused', () => {
  const rights = createKnownRights({ entriesMax: 100 });
  rights.learn(contentOf('a'), undefined, 'denied', 1000);

  rights.hear(contentOf('c'), 'everybody');

  assert.equal(rights.right(contentOf('c'), undefined, OUTAGE, 2000), 'granted');
  assert.equal(rights.right(contentOf('b'), undefined, OUTAGE, 2000), 'denied');
});

test('what others were refused closes a repository of which nothing newer is known, for an outage', () => {
  const rights = createKnownRights({ entriesMax: 100 });
  rights.hear(contentOf('c'), 'some');

  assert.equal(rights.right(contentOf('b'), undefined, OUTAGE, 2000), 'denied');
  assert.equal(rights.right(contentOf('b'), undefined, { ...OUTAGE, privateMsMax: 60_000 }, 2000), 'unknown');

  rights.learn(contentOf('a'), undefined, 'denied', 1000);
  rights.hear(contentOf('d'), 'some');

  assert.equal(rights.right(contentOf('b'), undefined, { ...OUTAGE, privateMsMax: 60_000 }, 2000), 'denied');
});
