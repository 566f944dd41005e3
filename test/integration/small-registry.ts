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
  /** Answers every request with this status from now on. */
  fail(status: number): void;
  forgetRequests(): void;
}

export interface RegistryTls {
  readonly key: string;
  readonly cert: string;
}

export async function startRegistry(t: TestContext, tls?: RegistryTls): Promise<SmallRegistry> {
  const contents = new Map<string, Buffer>();
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
    response.end(request.method === 'HEAD' ? undefined : bytes);
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
    fail(status) {
      failure = status;
    },
    forgetRequests() {
      requests = [];
    },
  };
}
