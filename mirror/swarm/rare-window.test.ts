import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { YamuxStream } from '@chainsafe/libp2p-yamux/stream';
import type { Stream } from '@libp2p/interface';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import { createKeyGate } from './key-gate.ts';
import { createNode, listeningPort, toMultiaddr } from './node.ts';
import { raiseWindowRarely } from './rare-window.ts';

const PROTOCOL = '/test/1';
/** What yamux grants at first, and at least. */
const WINDOW_BYTES = 256 * 1024;

/** The two ends of one stream, the second of which raises its window rarely. Counts the updates that the first gets. */
async function openStream(t: TestContext) {
  const startNode = async () => {
    const gate = createKeyGate({ onRefused: () => {} }, { keys: parseSwarmKeys('01'.repeat(32)) });
    const node = await createNode(gate, { listen: { host: '127.0.0.1', port: 0 }, services: {} });
    t.after(() => node.stop());
    await node.start();
    return node;
  };
  const [dialer, listener] = [await startNode(), await startNode()];
  const received = Promise.withResolvers<Stream>();
  await listener.handle(PROTOCOL, (stream) => received.resolve(stream));
  const connection = await dialer.dial(toMultiaddr({ host: '127.0.0.1', port: listeningPort(listener) }));
  const sender = await connection.newStream(PROTOCOL);
  const receiver = await received.promise;
  raiseWindowRarely(receiver);
  assert.ok(sender instanceof YamuxStream, 'the muxer has another stream than the one that is made quieter');
  const updates = { count: 0 };
  const handle = sender.handleWindowUpdate.bind(sender);
  sender.handleWindowUpdate = (frame) => {
    updates.count += 1;
    handle(frame);
  };
  return { sender, receiver, updates };
}

test('short frames are not answered by frames that raise the window', async (t) => {
  const { sender, receiver, updates } = await openStream(t);
  let receivedBytes = 0;
  receiver.addEventListener('message', ({ data }) => {
    receivedBytes += data.byteLength;
    if (receivedBytes === 1000) receiver.send(Buffer.of(1));
  });

  const answered = once(sender, 'message');
  for (let count = 0; count < 100; count += 1) sender.send(Buffer.alloc(10));
  await answered;

  assert.equal(updates.count, 0);
});

test('the window is raised in time for more than it held at first', async (t) => {
  const { sender, receiver, updates } = await openStream(t);
  const bytes = 8 * WINDOW_BYTES + 1;
  let receivedBytes = 0;
  const whole = Promise.withResolvers<void>();
  receiver.addEventListener('message', ({ data }) => {
    receivedBytes += data.byteLength;
    if (receivedBytes === bytes) whole.resolve();
  });

  sender.send(Buffer.alloc(bytes));

  await whole.promise;
  assert.ok(updates.count >= 8 && updates.count <= 4 * 8, `${updates.count} updates`);
});
