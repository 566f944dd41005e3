import assert from 'node:assert/strict';
import test from 'node:test';
import type { Registry } from '../../common/oci/reference.ts';
import { parseBuilderPath } from './builder-path.ts';

const HUB = 'docker.io' as Registry;

for (const { target, registry, repository } of [
  { target: '/v2/library/alpine/manifests/3', registry: 'docker.io', repository: 'library/alpine' },
  { target: '/v2/library/alpine/manifests/3?ns=docker.io', registry: 'docker.io', repository: 'library/alpine' },
  { target: '/v2/team/app/manifests/1?ns=hub.example%3A5000', registry: 'hub.example:5000', repository: 'team/app' },
  { target: '/v2/hub.example/team/app/manifests/1', registry: 'hub.example', repository: 'team/app' },
  { target: '/v2/hub.example:5000/team/app/manifests/1', registry: 'hub.example:5000', repository: 'team/app' },
  { target: '/v2/hub.example_5000/team/app/manifests/1', registry: 'hub.example:5000', repository: 'team/app' },
  { target: '/v2/ns/hub.example/team/app/manifests/1', registry: 'hub.example', repository: 'team/app' },
  { target: '/v2/ns/hub.example_5000/app/manifests/1', registry: 'hub.example:5000', repository: 'app' },
  { target: '/v2/ns/app/manifests/1', registry: 'docker.io', repository: 'ns/app' },
  { target: '/v2/ns/a.b/app/manifests/1?ns=hub.example', registry: 'hub.example', repository: 'ns/a.b/app' },
  { target: '/v2/localhost_5000/app/manifests/1', registry: 'localhost:5000', repository: 'app' },
  { target: '/v2/user_123/app/manifests/1', registry: 'docker.io', repository: 'user_123/app' },
  { target: '/v2/a.b_5000/app/manifests/1?ns=hub.example', registry: 'hub.example', repository: 'a.b_5000/app' },
]) {
  test(`${target} is ${repository} of ${registry}`, () => {
    const path = parseBuilderPath(target, HUB);

    assert.ok('kind' in path && path.kind === 'manifest');
    assert.deepEqual([path.registry, path.repository], [registry, repository]);
  });
}

test('a port that is none is refused, and the base is the base', () => {
  assert.ok('refused' in parseBuilderPath('/v2/hub.example_99999/app/manifests/1', HUB));
  assert.deepEqual(parseBuilderPath('/v2/', HUB), { kind: 'base' });
});
