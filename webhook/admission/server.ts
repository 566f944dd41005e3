import type { TLSSocket } from 'node:tls';
import type { CertificateAndKey } from '../../certs/authority.ts';
import type { HostPort } from '../../common/host-port.ts';
import { boundAddress, listen } from '../../common/http/listen.ts';
import type { Component } from '../../common/lifecycle.ts';
import { type AdmissionDeps, createAdmissionApp } from './app.ts';

export interface AdmissionOptions {
  readonly address: HostPort;
  /** How long reviews are still taken after the first word of stopping: endpoints are told with a delay. */
  readonly drainMs: number;
}

export interface AdmissionServer extends Component {
  /** Serves it from the next handshake on. Connections that speak for the one before are closed after their next answer. */
  useCertificate(pair: CertificateAndKey): void;
  isServing(): boolean;
  /** Where it listens, once it is started. */
  address(): HostPort;
}

/** Admission over TLS, with a certificate that can change at any time. Until there is one, handshakes fail. */
export function createAdmissionServer(deps: AdmissionDeps, { address, drainMs }: AdmissionOptions): AdmissionServer {
  const app = createAdmissionApp(deps);
  let certificate: CertificateAndKey | undefined;
  let isStopping = false;
  const spokenFor = new WeakMap<TLSSocket, CertificateAndKey>();
  app.server.on('secureConnection', (socket: TLSSocket) => {
    if (certificate) spokenFor.set(socket, certificate);
  });
  app.addHook('onSend', async (request, reply) => {
    // Not at once: a connection that is closed while it is idle may take a review with it that is just being sent.
    const isOld = spokenFor.get(request.raw.socket as TLSSocket) !== certificate;
    if (isStopping || isOld) reply.header('connection', 'close');
  });
  return {
    start: async () => {
      await app.ready();
      await listen(app.server, address);
    },
    stop: async () => {
      isStopping = true;
      if (app.server.listening) await new Promise((resolve) => setTimeout(resolve, drainMs));
      await app.close();
    },
    useCertificate: (next) => {
      app.server.setSecureContext({ cert: next.certificate, key: next.key, minVersion: 'TLSv1.2' });
      certificate = next;
    },
    address: () => boundAddress(app.server),
    isServing: () => certificate !== undefined && app.server.listening && !isStopping,
  };
}
