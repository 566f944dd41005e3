import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import { createDialPlan } from './dial-plan.ts';

const KEEPERS_MAX = 128;

function membersOf(count: number): HostPort[] {
  return Array.from({ length: count }, (_, index) => ({ host: `10.0.${index >> 8}.${index & 255}`, port: 29_983 }));
}

function start() {
  const plan = createDialPlan({ now: () => 0, random: () => 0 });
  const keepersOf = (members: readonly HostPort[]) => {
    plan.update(members);
    return new Set(members.map(formatHostPort).filter((address) => plan.isKeeper(address)));
  };
  return { plan, keepersOf };
}

test('all members keep the index until there is one too many, and again when it has gone', () => {
  const { plan, keepersOf } = start();
  const isKeptBy = (count: number) => [keepersOf(membersOf(count)).size, plan.isKeeper('10.9.9.9:29983')];

  assert.deepEqual(isKeptBy(KEEPERS_MAX), [KEEPERS_MAX, true]);
  assert.deepEqual(isKeptBy(KEEPERS_MAX + 1), [KEEPERS_MAX, false]);
  assert.deepEqual(isKeptBy(KEEPERS_MAX), [KEEPERS_MAX, true]);
});

test('the keepers are the same whatever the order of the members, and each who comes changes at most one', () => {
  const { keepersOf } = start();
  const { keepersOf: keepersOfOther } = start();
  let before = keepersOf(membersOf(KEEPERS_MAX));
  let changes = 0;

  for (let count = KEEPERS_MAX + 1; count <= 2 * KEEPERS_MAX; count += 1) {
    const after = keepersOf(membersOf(count));
    assert.deepEqual(keepersOfOther(membersOf(count).reverse()), after);
    const { size: newCount } = after.difference(before);
    assert.ok(newCount <= 1, `${newCount} new keepers of ${count} members`);
    changes += newCount;
    before = after;
  }

  assert.ok(changes > 0);
});

test('of more members than keep the index, the keepers alone are dialed and waited for', () => {
  const { plan, keepersOf } = start();
  const keepers = keepersOf(membersOf(2 * KEEPERS_MAX));
  const dialed: string[] = [];
  const isConnected = ({ address }: { readonly address: string }) => dialed.includes(address);

  for (let taken = plan.take(isConnected); taken.length > 0; taken = plan.take(isConnected)) {
    assert.equal(plan.isTried(isConnected), false);
    for (const target of taken) {
      dialed.push(target.address);
      plan.succeeded(target, target.address);
    }
  }

  assert.deepEqual(new Set(dialed), keepers);
  assert.equal(plan.isTried(isConnected), true);
});
