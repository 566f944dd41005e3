import { hasCode, MiroirError } from '../../common/errors.ts';
import { type Component, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import { createBackoff } from './backoff.ts';
import type { KubeClient } from './client.ts';

export interface ReflectorDeps {
  readonly client: Pick<KubeClient, 'call' | 'lines'>;
  readonly log: Logger;
  /** Between 0 and 1. */
  readonly random: () => number;
}

export interface ReflectorOptions<T> {
  /** Of the list, as in `/api/v1/nodes`. */
  readonly path: string;
  /** Selectors. */
  readonly query?: Readonly<Record<string, string>>;
  /** Ask for nothing but names, labels and annotations. */
  readonly isMetadataOnly?: boolean;
  /** What is kept of an object; undefined to keep nothing of it. */
  readonly project: (object: KubeObject) => T | undefined;
  /** Called after each change of what is kept, and maybe without one. */
  readonly onChange?: () => void;
  /** A watch that is silent for so long is taken for dead. */
  readonly silenceMs?: number;
}

/** What every object of the API has. */
export interface KubeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly creationTimestamp?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    /** Who set which fields: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management */
    readonly managedFields?: readonly { readonly fieldsV1?: Readonly<Record<string, unknown>> }[];
  };
}

/** A copy of a list of the API that follows it. While the apiserver is away it stays as it was. */
export interface Reflector<T> extends Component {
  /** Whether the whole list was read at least once since the start. */
  isSynced(): boolean;
  /** By name; `namespace/name` where there are namespaces. */
  get(key: string): T | undefined;
  entries(): IterableIterator<[string, T]>;
}

/** Objects a page: some 10 MB of JSON when each is as large as a busy node. */
const PAGE_OBJECTS = 500;
/** The apiserver ends a watch after this; each takes a longer time than others, so that not all return at once. */
const WATCH_SECONDS = 300;
/** The apiserver sends a bookmark a minute: one that is silent for longer than two is no longer there. */
const SILENCE_MS = 150_000;
const BACKOFF = { firstMs: 200, maxMs: 5_000 };
/** A watch that ends in good order sooner than this is not to be had now: asking again at once would be a storm. */
const SHORT_MS = 1_000;
const METADATA_ONLY = 'PartialObjectMetadata;g=meta.k8s.io;v=v1';

interface List {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly KubeObject[] | null;
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: KubeObject & { readonly code?: number; readonly message?: string };
}

/** Lists, then watches from there, for as long as it runs: every error leads to another watch, or to another list. */
export function createReflector<T>(deps: ReflectorDeps, options: ReflectorOptions<T>): Reflector<T> {
  const { client, log } = deps;
  const { path, query = {}, project, onChange = () => {}, silenceMs = SILENCE_MS } = options;
  const accept = (kind: 'List' | '') =>
    options.isMetadataOnly ? `application/json;as=${METADATA_ONLY.replace(';', `${kind};`)}` : 'application/json';
  const backoff = createBackoff(deps.random, BACKOFF);
  let objects = new Map<string, T>();
  let isSynced = false;

  async function run(signal: AbortSignal): Promise<void> {
    let version: string | undefined;
    while (!signal.aborted) {
      try {
        version ??= await list(signal);
        const startedAt = performance.now();
        for await (const seen of watch(version, signal)) {
          version = seen;
          backoff.reset();
        }
        if (performance.now() - startedAt < SHORT_MS) await backoff.wait(signal);
      } catch (error) {
        if (signal.aborted) return;
        // The watch is older than what the apiserver remembers: only a list tells what happened in between.
        if (hasCode(error, 'ERR_KUBE_GONE')) version = undefined;
        log.warn('A watch broke off and is taken up again', { path, error });
        await backoff.wait(signal).catch(() => {});
      }
    }
  }

  /** Answers the version to watch from. */
  async function list(signal: AbortSignal): Promise<string> {
    const found = new Map<string, T>();
    let page: List | undefined;
    do {
      const more = page?.metadata.continue;
      const paging = { limit: String(PAGE_OBJECTS), ...(more !== undefined && { continue: more }) };
      page = await client.call<List>({ path, query: { ...query, ...paging }, accept: accept('List') }, signal);
      for (const object of page.items ?? []) keep(found, object);
    } while (page.metadata.continue);
    objects = found;
    isSynced = true;
    onChange();
    return page.metadata.resourceVersion;
  }

  /** Yields the version after each event. Ends when the apiserver ends the watch in good order. */
  async function* watch(from: string, signal: AbortSignal): AsyncGenerator<string> {
    const silence = new AbortController();
    const bark = () => silence.abort(new Error('the watch is silent'));
    let watchdog = setTimeout(bark, silenceMs);
    const timeoutSeconds = String(Math.round(WATCH_SECONDS * (1 + deps.random())));
    const watching = { watch: '1', allowWatchBookmarks: 'true', resourceVersion: from, timeoutSeconds };
    const request = { path, query: { ...query, ...watching }, accept: accept('') };
    try {
      for await (const line of client.lines(request, AbortSignal.any([signal, silence.signal]))) {
        clearTimeout(watchdog);
        watchdog = setTimeout(bark, silenceMs);
        const { type, object } = JSON.parse(line) as WatchEvent;
        if (type === 'ERROR') throw watchError(object);
        if (type === 'DELETED') objects.delete(keyOf(object));
        else if (type !== 'BOOKMARK') keep(objects, object);
        if (type !== 'BOOKMARK') onChange();
        yield object.metadata.resourceVersion as string;
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  function keep(into: Map<string, T>, object: KubeObject): void {
    const kept = project(object);
    if (kept === undefined) into.delete(keyOf(object));
    else into.set(keyOf(object), kept);
  }

  return {
    ...createLoop(run),
    isSynced: () => isSynced,
    get: (key) => objects.get(key),
    entries: () => objects.entries(),
  };
}

function keyOf({ metadata: { namespace, name } }: KubeObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function watchError({ code, message }: WatchEvent['object']): MiroirError {
  return new MiroirError(code === 410 ? 'ERR_KUBE_GONE' : 'ERR_KUBE_UNAVAILABLE', `the watch ended: ${message}`);
}
