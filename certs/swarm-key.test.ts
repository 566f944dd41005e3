import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { hasCode } from '../common/errors.ts';
import { deriveKey, parseSwarmKeys } from './swarm-key.ts';

const ONE = '11'.repeat(32);
const TWO = 'aB'.repeat(32);

test('the first key of the file comes first, comments and blank lines are passed over', () => {
  const keys = parseSwarmKeys(`# in use\n${ONE}\n\n  ${TWO}  # until Friday\r\n`);

  assert.deepEqual(
    keys.map(({ secret }) => Buffer.from(secret).toString('hex')),
    [ONE, TWO.toLowerCase()],
  );
});

test('a key id is the start of a hash that names what it is for', () => {
  const [key] = parseSwarmKeys(ONE);

  const expected = createHash('sha256').update('miroir swarm key id\n').update(Buffer.alloc(32, 0x11)).digest('hex');
  assert.equal(key?.id, expected.slice(0, 16));
});

for (const { title, text, message } of [
  { title: 'a short key', text: `# x\n${ONE.slice(1)}`, message: /line 2 is not a key.*openssl rand -hex 32/ },
  { title: 'a key that is not hex', text: `${ONE.slice(1)}g`, message: /line 1 is not a key/ },
  { title: 'two keys on a line', text: `${ONE} ${TWO}`, message: /line 1 is not a key/ },
  { title: 'the same key twice', text: `${TWO}\n${TWO.toLowerCase()}`, message: /line 2 repeats a key/ },
  {
    title: 'five keys',
    text: [1, 2, 3, 4, 5].map((n) => `${n}0`.repeat(32)).join('\n'),
    message: /line 5 .*at most 4/,
  },
  { title: 'an empty file', text: '\n# nothing\n', message: /there is no key.*openssl/ },
]) {
  test(`${title} is refused, and the error shows no key`, () => {
    assert.throws(
      () => parseSwarmKeys(text),
      (error) => {
        assert(hasCode(error, 'ERR_SWARM_KEY_INVALID'));
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /[0-9a-f]{16}/i);
        return true;
      },
    );
  });
}

test('each purpose has its own key, the same on every node', () => {
  const [key] = parseSwarmKeys(ONE);
  assert(key !== undefined);

  const swarm = Buffer.from(deriveKey(key, 'swarm')).toString('hex');
  const peers = Buffer.from(deriveKey(key, 'peers')).toString('hex');

  // Computed once by `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:11.. -kdfopt info:miroir/1/swarm HKDF`.
  assert.equal(swarm, '44a37ac795e4f022bdafffc5bf3493c930bbde7a4ffcbdcc7f8919ba737aa50f');
  assert.equal(peers, '1b2475bcae9dfd2cc8e4fe1777e41759f5420ea18ecf2ef08b730e87b386776c');
});

test('a key that is logged shows its id alone', () => {
  assert.doesNotMatch(JSON.stringify(parseSwarmKeys(TWO)), /secret|171/);
});
