import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseResponseHead } from './response-head.ts';

test('reads what a peer says about content', () => {
  const head = parseResponseHead(
    'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\ncontent-range: bytes 0-4/9\r\nDocker-Content-Digest:  x \r\nConnection: close',
  );

  assert.deepEqual(head, {
    status: 206,
    contentLength: 5,
    contentRange: 'bytes 0-4/9',
    contentDigest: 'x',
    keepsAlive: false,
  });
});

for (const { what, text } of [
  { what: 'nothing', text: '' },
  { what: 'another protocol', text: 'SSH-2.0-OpenSSH' },
  { what: 'HTTP/1.0', text: 'HTTP/1.0 200 OK\r\nContent-Length: 0' },
  { what: 'an informational answer', text: 'HTTP/1.1 100 Continue\r\nContent-Length: 0' },
  { what: 'a redirect', text: 'HTTP/1.1 307 X\r\nContent-Length: 0' },
  { what: 'no length', text: 'HTTP/1.1 200 OK' },
  { what: 'a signed length', text: 'HTTP/1.1 200 OK\r\nContent-Length: +5' },
  { what: 'a list of lengths', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5' },
  { what: 'two lengths', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5' },
  { what: 'a length beyond exact numbers', text: 'HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999' },
  { what: 'chunks', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked' },
  { what: 'compression', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip' },
  { what: 'a folded field', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n folded' },
  { what: 'a space before the colon', text: 'HTTP/1.1 200 OK\r\nContent-Length : 5' },
  { what: 'a bare line feed', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\nX: y' },
  { what: 'a control character', text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a\0b' },
]) {
  test(`takes ${what} for no answer`, () => {
    assert.equal(parseResponseHead(text), undefined);
  });
}
