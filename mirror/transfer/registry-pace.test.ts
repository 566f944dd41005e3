import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { createRegistryPace } from './registry-pace.ts';

const REGISTRY = 'registry.example' as Registry;
const DIGEST = `sha256:${'a'.repeat(64)}` as Digest;

/** Of a registry that sent a layer of so many bytes in a second. */
function pace(sizeBytes = 30_000_000) {
  const clock = { ms: 0 };
  const pace = createRegistryPace({ now: () => clock.ms });
  pace.led(DIGEST, sizeBytes, REGISTRY);
  clock.ms = 600;
  pace.begun(DIGEST);
  clock.ms = 1000;
  pace.begun(DIGEST);
  clock.ms = 1600;
  pace.arrived(DIGEST);
  return { clock, pace };
}

for (const { title, sizeBytes, registry, rate, afterMs, isFaster } of [
  { title: 'several times as fast', rate: 3e6, isFaster: true },
  { title: 'somewhat faster', sizeBytes: 10_000_000, rate: 4e6, isFaster: false },
  { title: 'several times as fast as what is fast enough', rate: 6e6, isFaster: false },
  { title: 'only known by something small', sizeBytes: 1_000_000, rate: 1000, isFaster: false },
  { title: 'another one', registry: 'other.example' as Registry, rate: 3e6, isFaster: false },
  { title: 'measured long ago', rate: 3e6, afterMs: 3_600_001, isFaster: false },
]) {
  test(`a registry that is ${title}: ${isFaster ? 'faster' : 'not faster'}`, () => {
    const { clock, pace: known } = pace(sizeBytes);
    clock.ms += afterMs ?? 0;

    assert.equal(known.isFaster(DIGEST, registry ?? REGISTRY, rate), isFaster);
  });
}

test('what came without this node being sent to the registry says nothing of it', () => {
  const pace = createRegistryPace({ now: () => 0 });
  pace.begun(DIGEST);
  pace.arrived(DIGEST);

  assert.equal(pace.isFaster(DIGEST, REGISTRY, 1), false);
});

test('what is left to the registry is left once, and soon; who comes back for it is served', () => {
  const { clock, pace: known } = pace();
  known.leave(DIGEST);
  assert.deepEqual([known.takeLeft(DIGEST), known.takeLeft(DIGEST)], [true, false]);
  assert.equal(known.isFaster(DIGEST, REGISTRY, 1), false);
  clock.ms += 60_001;
  assert.equal(known.isFaster(DIGEST, REGISTRY, 1), true);

  known.leave(DIGEST);
  clock.ms += 5001;
  assert.equal(known.takeLeft(DIGEST), false);
});
