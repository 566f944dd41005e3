import { MiroirError } from '../../common/errors.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { ContentDefinition, ContentEvent, type Info } from './gen/content.ts';
import { type Envelope, EventsDefinition } from './gen/events.ts';
import { type Image, ImageEvent, ImagesDefinition } from './gen/images.ts';
import { IntrospectionDefinition } from './gen/introspection.ts';
import { VersionDefinition } from './gen/version.ts';
import { createGrpcConnection, GRPC_NOT_FOUND, GrpcError } from './grpc.ts';

export interface ContainerdClientOptions {
  /** Path of containerd's socket. */
  readonly socket: string;
  /** The containerd namespace; Kubernetes' is `k8s.io`. */
  readonly namespace: string;
}

export interface ContainerdImage {
  /** As containerd stores it: a tag or digest reference, or anything else that someone named an image. */
  readonly name: string;
  readonly digest: Digest;
  readonly updatedAtMs: number;
}

/** Content and when it came. */
export interface DatedContent extends ContentInfo {
  readonly createdAtMs: number;
}

/** A part of containerd, as its introspection tells it. */
export interface ContainerdPlugin {
  /** As configurations write it: `io.containerd.grpc.v1.cri`. */
  readonly name: string;
  readonly exports: Readonly<Record<string, string>>;
  /** Why it did not load; undefined when it works. */
  readonly failure: string | undefined;
}

export interface ContentInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** `content-created` is sent since containerd 2.1; nothing is ever sent when content is garbage-collected. */
export type ContainerdEvent =
  | { readonly type: 'image-created' | 'image-updated' | 'image-deleted'; readonly name: string }
  | { readonly type: 'content-created'; readonly digest: Digest };

/**
 * The part of containerd's API that a mirror needs. Every call throws as GrpcConnection says: ERR_CONTAINERD_UNAVAILABLE,
 * ERR_DEADLINE_EXCEEDED, ERR_ABORTED, ERR_CONTAINERD_CALL_FAILED.
 */
export interface ContainerdClient {
  /** Whose images and content these are. */
  readonly namespace: string;
  readonly images: {
    /** Undefined when the namespace has no image of that name. */
    get(name: string, signal: AbortSignal): Promise<ContainerdImage | undefined>;
    list(signal: AbortSignal): Promise<readonly ContainerdImage[]>;
  };
  readonly content: {
    /** All content of the namespace, as it is read. */
    list(signal: AbortSignal): AsyncIterable<ContentInfo>;
    /** Content with a label of this name. */
    listLabelled(label: string, signal: AbortSignal): AsyncIterable<DatedContent>;
    /** Undefined when the namespace has no such content. */
    info(digest: Digest, signal: AbortSignal): Promise<ContentInfo | undefined>;
  };
  /** The namespace's events from now on. Ends by throwing, when containerd goes away or the signal aborts. */
  events(signal: AbortSignal): AsyncIterable<ContainerdEvent>;
  /** The folder that holds `blobs/` and `ingest/`. */
  contentRoot(signal: AbortSignal): Promise<string>;
  plugins(signal: AbortSignal): Promise<readonly ContainerdPlugin[]>;
  /** As containerd tells it, with or without a leading `v`. */
  serverVersion(signal: AbortSignal): Promise<string>;
  close(): void;
}

/** containerd answers these from memory or bbolt in milliseconds; a minute would mean that it hangs. */
const CALL_DEADLINE_MS = 10_000;
/** Tens of thousands of blobs take a second or two on a busy node. */
const LIST_DEADLINE_MS = 60_000;

const NAMESPACE_HEADER = 'containerd-namespace';
const CALL = { deadlineMs: CALL_DEADLINE_MS };
const LIST = { deadlineMs: LIST_DEADLINE_MS };

export function createContainerdClient({ socket, namespace }: ContainerdClientOptions): ContainerdClient {
  const grpc = createGrpcConnection({ socket, headers: { [NAMESPACE_HEADER]: namespace } });

  async function info(digest: Digest, signal: AbortSignal): Promise<ContentInfo | undefined> {
    const { methods } = ContentDefinition;
    const response = await orAbsent(grpc.unary(ContentDefinition, methods.info, { digest }, CALL, signal));
    return response?.info && toContentInfo(response.info);
  }

  async function get(name: string, signal: AbortSignal): Promise<ContainerdImage | undefined> {
    const { methods } = ImagesDefinition;
    const response = await orAbsent(grpc.unary(ImagesDefinition, methods.get, { name }, CALL, signal));
    return response?.image && toImage(response.image);
  }

  async function* list(filters: string[], signal: AbortSignal): AsyncIterable<DatedContent> {
    const { methods } = ContentDefinition;
    for await (const { info } of grpc.stream(ContentDefinition, methods.list, { filters }, LIST, signal)) {
      for (const content of info) {
        const known = toContentInfo(content);
        if (known !== undefined) yield { ...known, createdAtMs: content.createdAt?.getTime() ?? 0 };
      }
    }
  }

  async function* events(signal: AbortSignal): AsyncIterable<ContainerdEvent> {
    const { methods } = EventsDefinition;
    const request = { filters: EVENT_TOPICS.map((topic) => `namespace==${namespace},topic~="^${topic}"`) };
    const forever = { deadlineMs: undefined };
    for await (const envelope of grpc.stream(EventsDefinition, methods.subscribe, request, forever, signal)) {
      const event = parseEvent(envelope);
      if (event !== undefined) yield event;
    }
  }

  return {
    namespace,
    images: {
      get,
      async list(signal) {
        const request = { filters: [] };
        const response = await grpc.unary(ImagesDefinition, ImagesDefinition.methods.list, request, LIST, signal);
        return response.images.flatMap((image) => toImage(image) ?? []);
      },
    },
    content: {
      list: (signal) => list([], signal),
      listLabelled: (label, signal) => list([`labels."${label}"`], signal),
      info,
    },
    events,
    async contentRoot(signal) {
      const request = { filters: ['type==io.containerd.content.v1'] };
      const { methods } = IntrospectionDefinition;
      const { plugins } = await grpc.unary(IntrospectionDefinition, methods.plugins, request, CALL, signal);
      const root = plugins.map(({ exports }) => exports['root']).find((path) => path !== undefined && path !== '');
      if (root === undefined) {
        throw new MiroirError(
          'ERR_CONTENT_ROOT_UNREADABLE',
          `containerd at ${socket} tells no root of its content store: a content store that is no folder cannot be mirrored`,
        );
      }
      return root;
    },
    async plugins(signal) {
      const { methods } = IntrospectionDefinition;
      const { plugins } = await grpc.unary(IntrospectionDefinition, methods.plugins, { filters: [] }, CALL, signal);
      return plugins.map(({ type, id, exports, initErr }) => ({
        name: `${type}.${id}`,
        exports,
        failure: initErr?.message,
      }));
    },
    async serverVersion(signal) {
      const { methods } = VersionDefinition;
      return (await grpc.unary(VersionDefinition, methods.version, {}, CALL, signal)).version;
    },
    close: () => grpc.close(),
  };
}

async function orAbsent<R>(response: Promise<R>): Promise<R | undefined> {
  try {
    return await response;
  } catch (error) {
    if (error instanceof GrpcError && error.status === GRPC_NOT_FOUND) return undefined;
    throw error;
  }
}

const EVENT_TOPICS = ['/images/', '/content/'];

function parseEvent({ topic, event }: Envelope): ContainerdEvent | undefined {
  if (event === undefined) return undefined;
  switch (topic) {
    case '/images/create':
      return { type: 'image-created', name: ImageEvent.decode(event.value).name };
    case '/images/update':
      return { type: 'image-updated', name: ImageEvent.decode(event.value).name };
    case '/images/delete':
      return { type: 'image-deleted', name: ImageEvent.decode(event.value).name };
    case '/content/create': {
      const digest = parseDigest(ContentEvent.decode(event.value).digest);
      return digest && { type: 'content-created', digest };
    }
    default:
      return undefined;
  }
}

function toContentInfo(info: Info): ContentInfo | undefined {
  const digest = parseDigest(info.digest);
  return digest && { digest, sizeBytes: info.size, labels: info.labels };
}

function toImage({ name, target, updatedAt }: Image): ContainerdImage | undefined {
  const digest = parseDigest(target?.digest ?? '');
  return digest && { name, digest, updatedAtMs: updatedAt?.getTime() ?? 0 };
}
