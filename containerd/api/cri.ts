import { type Image, ImageServiceDefinition, RuntimeServiceDefinition } from './gen/cri.ts';
import { createGrpcConnection } from './grpc.ts';

export interface CriClientOptions {
  /** Path of the socket that serves CRI: containerd's own. */
  readonly socket: string;
}

/** What kubelet sends with a pull for a pod that has a pull secret. */
export interface PullAuth {
  readonly username?: string;
  readonly password?: string;
  readonly serverAddress?: string;
}

export interface PullRequest {
  readonly image: string;
  readonly auth?: PullAuth;
}

export interface CriImage {
  /** The digest of the image's config. */
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
}

export interface CriStatus {
  /** By type: `RuntimeReady`, `NetworkReady`. */
  readonly conditions: Readonly<Record<string, boolean>>;
  /** What a verbose status tells; containerd's `config` among it is a JSON text. */
  readonly info: Readonly<Record<string, string>>;
}

/** The part of CRI that Miroir asks of containerd. Every call throws as GrpcConnection says. */
export interface CriClient {
  /** Resolves with the image's id when it is pulled and unpacked. */
  pullImage(request: PullRequest, signal: AbortSignal): Promise<string>;
  /** Removing an image that is not there is no error. */
  removeImage(image: string, signal: AbortSignal): Promise<void>;
  /** Undefined when the image is not there. */
  imageStatus(image: string, signal: AbortSignal): Promise<CriImage | undefined>;
  listImages(signal: AbortSignal): Promise<readonly CriImage[]>;
  status(options: { readonly verbose: boolean }, signal: AbortSignal): Promise<CriStatus>;
  runtimeVersion(signal: AbortSignal): Promise<string>;
  close(): void;
}

/** CRI answers all but pulls in milliseconds; removing an image waits for garbage collection. */
const CALL = { deadlineMs: 30_000 };
/** A pull may be a large image over a slow line; whoever asks gives a signal for less. */
const PULL = { deadlineMs: 30 * 60_000 };

export function createCriClient({ socket }: CriClientOptions): CriClient {
  const grpc = createGrpcConnection({ socket, headers: {} });
  const { methods: images } = ImageServiceDefinition;
  const { methods: runtime } = RuntimeServiceDefinition;
  const spec = (image: string) => ({ image, annotations: {} });

  return {
    async pullImage({ image, auth }, signal) {
      const request = { image: spec(image), auth: auth && { ...NO_AUTH, ...auth } };
      return (await grpc.unary(ImageServiceDefinition, images.pullImage, request, PULL, signal)).imageRef;
    },
    async removeImage(image, signal) {
      await grpc.unary(ImageServiceDefinition, images.removeImage, { image: spec(image) }, CALL, signal);
    },
    async imageStatus(image, signal) {
      const request = { image: spec(image), verbose: false };
      const response = await grpc.unary(ImageServiceDefinition, images.imageStatus, request, CALL, signal);
      return response.image && toCriImage(response.image);
    },
    async listImages(signal) {
      const request = { filter: undefined };
      const response = await grpc.unary(ImageServiceDefinition, images.listImages, request, CALL, signal);
      return response.images.map(toCriImage);
    },
    async status({ verbose }, signal) {
      const response = await grpc.unary(RuntimeServiceDefinition, runtime.status, { verbose }, CALL, signal);
      const conditions = (response.status?.conditions ?? []).map(({ type, status }) => [type, status] as const);
      return { conditions: Object.fromEntries(conditions), info: response.info };
    },
    async runtimeVersion(signal) {
      const request = { version: 'v1' };
      return (await grpc.unary(RuntimeServiceDefinition, runtime.version, request, CALL, signal)).runtimeVersion;
    },
    close: () => grpc.close(),
  };
}

const NO_AUTH = { username: '', password: '', auth: '', serverAddress: '', identityToken: '', registryToken: '' };

function toCriImage({ id, repoTags, repoDigests }: Image): CriImage {
  return { id, repoTags, repoDigests };
}
