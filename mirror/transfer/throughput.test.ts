import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createThroughputMeter } from './throughput.ts';

function meter() {
  const clock = { ms: 0 };
  return { clock, meter: createThroughputMeter(() => clock.ms) };
}

test('a peer whose bytes are taken as they come sets the pace', () => {
  const { clock, meter: watched } = meter();
  for (let piece = 0; piece < 10; piece += 1) {
    clock.ms += 90;
    watched.arrived(1000);
    clock.ms += 10;
    watched.taken();
  }

  assert.deepEqual(watched.look(), { byteCount: 10_000, bytesPerSecond: 10_000, isPeersPace: true });
});

test('a peer whose bytes wait for the client does not', () => {
  const { clock, meter: watched } = meter();
  watched.arrived(1000);
  for (let piece = 0; piece < 10; piece += 1) {
    clock.ms += 100;
    watched.arrived(1000);
    watched.taken();
  }

  assert.deepEqual(watched.look(), { byteCount: 11_000, bytesPerSecond: 11_000, isPeersPace: false });
});

test('each look is about the time since the last', () => {
  const { clock, meter: watched } = meter();
  watched.arrived(50_000);
  clock.ms = 1000;
  watched.look();
  watched.taken();
  clock.ms = 3000;

  assert.deepEqual(watched.look(), { byteCount: 0, bytesPerSecond: 0, isPeersPace: true });
});
