import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { manifestMediaType } from '../../common/oci/media-types.ts';
import { type SmallImage, sha256 } from '../conformance/store-image.ts';

interface SeenRequest {
  /** `HEAD /v2/team/app/manifests/v1?ns=registry.example` */
  readonly line: string;
  readonly headers: http.IncomingHttpHeaders;
}

/** A registry for one test: it serves what it holds under every repository, and remembers what it was asked. */
export interface SmallRegistry {
  /** `127.0.0.1:12345` */
  readonly host: string;
  readonly requests: readonly SeenRequest[];
  /** Serves the image by its digests, and by this tag. */
  add(tag: string, image: SmallImage): void;
  /** Sends a blob's bytes only as far as it is told to, in every answer. */
  hold(digest: string): HeldBlob;
  /** Answers every request with this status from now on. */
  fail(status: number): void;
  forgetRequests(): void;
}

export interface HeldBlob {
  sendUntil(offset: number): void;
}

export interface RegistryTls {
  readonly key: string;
  readonly cert: string;
}

export async function startRegistry(t: TestContext, tls?: RegistryTls): Promise<SmallRegistry> {
  const contents = new Map<string, Buffer>();
  const held = new Map<string, { until: number; readonly waiting: Set<() => void> }>();
  let requests: SeenRequest[] = [];
  let failure: number | undefined;

  const answer = (request: http.IncomingMessage, response: http.ServerResponse) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    const [, kind, reference] = /^\/v2\/.+\/(manifests|blobs)\/([^/?]+)(\?|$)/.exec(request.url ?? '') ?? [];
    const bytes = failure === undefined ? contents.get(reference ?? '') : undefined;
    if (bytes === undefined) {
      response.writeHead(failure ?? 404).end();
      return;
    }
    response.writeHead(200, {
      'content-type': (kind === 'manifests' && manifestMediaType(bytes)) || 'application/octet-stream',
      'content-length': bytes.length,
      'docker-content-digest': sha256(bytes),
    });
    const hold = held.get(reference ?? '');
    if (request.method === 'HEAD') response.end();
    else if (hold === undefined) response.end(bytes);
    else sendHeld(response, bytes, hold);
  };
  const sendHeld = (
    response: http.ServerResponse,
    bytes: Buffer,
    hold: { until: number; waiting: Set<() => void> },
  ) => {
    let sent = 0;
    const send = () => {
      response.write(bytes.subarray(sent, hold.until));
      sent = Math.max(sent, hold.until);
      if (sent >= bytes.length) response.end();
    };
    response.flushHeaders();
    send();
    hold.waiting.add(send);
    response.on('close', () => hold.waiting.delete(send));
  };
  const server = tls === undefined ? http.createServer(answer) : https.createServer(tls, answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get requests() {
      return requests;
    },
    add(tag, image) {
      for (const [digest, bytes] of image.blobs) contents.set(digest, bytes);
      contents.set(tag, image.blobs.get(image.digest) as Buffer);
    },
    hold(digest) {
      const hold = { until: 0, waiting: new Set<() => void>() };
      held.set(digest, hold);
      return {
        sendUntil(offset) {
          hold.until = offset;
          for (const send of hold.waiting) send();
        },
      };
    },
    fail(status) {
      failure = status;
    },
    forgetRequests() {
      requests = [];
    },
  };
}
