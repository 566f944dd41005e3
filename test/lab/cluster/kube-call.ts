import https from 'node:https';
import type { KubeObject } from './kube-object.ts';

export interface KubeAnswer<T = KubeObject> {
  readonly status: number;
  readonly body: T;
  /** What a user of kubectl would see on stderr. */
  readonly warnings: readonly string[];
}

export interface KubeCallOptions {
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** Calls the API as it is on the wire: tests must not depend on the client that they test. What comes is what the caller takes it for. */
export type KubeCall = <T = KubeObject>(
  method: string,
  path: string,
  body?: object,
  options?: KubeCallOptions,
) => Promise<KubeAnswer<T>>;

export function createKubeCall(options: { readonly url: string; readonly token: string; readonly ca: () => string }): {
  readonly call: KubeCall;
  readonly close: () => void;
} {
  const agent = new https.Agent({ keepAlive: true });
  const call: KubeCall = async <T>(
    method: string,
    path: string,
    body?: object,
    { contentType = 'application/json', signal }: KubeCallOptions = {},
  ) => {
    const request = https.request(new URL(path, options.url), {
      agent,
      method,
      ca: options.ca(),
      headers: { authorization: `Bearer ${options.token}`, 'content-type': contentType },
      ...(signal && { signal }),
    });
    request.end(body && JSON.stringify(body));
    const { promise, resolve, reject } = Promise.withResolvers<KubeAnswer<T>>();
    request.on('error', reject);
    request.on('response', (response) => {
      response.toArray().then((chunks) => {
        const text = Buffer.concat(chunks as Buffer[]).toString();
        const isJson = response.headers['content-type']?.includes('json') ?? false;
        resolve({
          status: response.statusCode ?? 0,
          body: (isJson ? JSON.parse(text) : text) as T,
          warnings: readWarnings(response.headers.warning),
        });
      }, reject);
    });
    return promise;
  };
  return { call, close: () => agent.destroy() };
}

/** `299 - "text"`, separated by commas: https://www.rfc-editor.org/rfc/rfc7234#section-5.5. */
function readWarnings(header: string | undefined): string[] {
  return [...(header ?? '').matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) =>
    text.replace(/\\(.)/g, '$1'),
  );
}
