import https from 'node:https';

export interface KubeAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: Objects of every kind that the API has, in 60 places of tests: a field that is not there fails their assertions.
  readonly body: any;
  /** What a user of kubectl would see on stderr. */
  readonly warnings: readonly string[];
}

export interface KubeCallOptions {
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** Calls the API as it is on the wire: tests must not depend on the client that they test. */
export type KubeCall = (method: string, path: string, body?: object, options?: KubeCallOptions) => Promise<KubeAnswer>;

export function createKubeCall(options: { readonly url: string; readonly token: string; readonly ca: () => string }): {
  readonly call: KubeCall;
  readonly close: () => void;
} {
  const agent = new https.Agent({ keepAlive: true });
  const call: KubeCall = async (method, path, body, { contentType = 'application/json', signal } = {}) => {
    const request = https.request(new URL(path, options.url), {
      agent,
      method,
      ca: options.ca(),
      headers: { authorization: `Bearer ${options.token}`, 'content-type': contentType },
      ...(signal && { signal }),
    });
    request.end(body && JSON.stringify(body));
    const { promise, resolve, reject } = Promise.withResolvers<KubeAnswer>();
    request.on('error', reject);
    request.on('response', (response) => {
      response.toArray().then((chunks) => {
        const text = Buffer.concat(chunks as Buffer[]).toString();
        const isJson = response.headers['content-type']?.includes('json') ?? false;
        resolve({
          status: response.statusCode ?? 0,
          body: isJson ? JSON.parse(text) : text,
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
