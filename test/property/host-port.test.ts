import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import test from 'node:test';
import fc from 'fast-check';
import { formatHostPort, parseHostPort } from '../../common/host-port.ts';

const hosts = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
const hostPorts = fc.record({ host: hosts, port: fc.integer({ min: 1, max: 65_535 }) }, { noNullPrototype: true });

test('what is formatted parses to the same', () => {
  fc.assert(
    fc.property(hostPorts, (hostPort) => {
      assert.deepEqual(parseHostPort(formatHostPort(hostPort)), hostPort);
    }),
  );
});

test('what parses from any text formats back to that text', () => {
  const pieces = fc.constantFrom('[', ']', ':', '.', '-', '1', '80', '127.0.0.1', 'fd00', 'node', ' ', '\0', '%');
  const texts = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces, { maxLength: 8 }).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const parsed = parseHostPort(text);
      if (parsed !== undefined) assert.equal(formatHostPort(parsed), text);
    }),
    { numRuns: 5000 },
  );
});

test('what parses can stand in a URL as it is', () => {
  fc.assert(
    fc.property(hostPorts, (hostPort) => {
      const url = new URL(`http://${formatHostPort(hostPort)}/`);
      assert.equal(url.port === '' ? 80 : Number(url.port), hostPort.port);
      if (isIP(hostPort.host) === 4) assert.equal(url.hostname, hostPort.host);
    }),
  );
});
