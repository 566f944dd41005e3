import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { makeCertificate } from './certificate.ts';
import { freePort, untilListening } from './ports.ts';
import { type Connections, type Contestant, contestant } from './process.ts';

export interface Nginx extends Contestant {
  readonly address: string;
}

/** What an nginx does: serve a folder of blobs by sendfile, or pass on what another one serves. */
export type NginxRole =
  | { readonly blobs: string; readonly tls: boolean }
  | { readonly upstream: Nginx; readonly tls: boolean; readonly connections: Connections };

/** The cipher of Miroir's peers. */
const CIPHER = 'TLS_AES_128_GCM_SHA256';

/** Debian's nginx in one process, with its log off, and buffers that suit it better than the defaults of 8 KiB. */
export async function startNginx(folder: string, role: NginxRole): Promise<Nginx> {
  const port = await freePort();
  const home = path.join(folder, `nginx-${port}`);
  await fs.mkdir(home);
  const isServer = 'blobs' in role;
  if (isServer && role.tls) await makeCertificate(home, 'holder');
  const config = path.join(home, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${home}/${kind};`,
  );
  await fs.writeFile(
    config,
    `daemon off; master_process off; pid ${home}/pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; ${temporary.join(' ')}
  ${isServer ? '' : `upstream holder { server ${role.upstream.address}; ${role.connections === 'kept' ? 'keepalive 8;' : ''} }`}
  server {
    listen 127.0.0.1:${port}${isServer && role.tls ? ' ssl' : ''};
    ${isServer ? serving(role, home) : passing(role)}
  }
}
`,
  );
  const child = spawn('nginx', ['-c', config, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (cause) => reject(new Error('nginx is missing: apt-get install nginx-light', { cause })));
  });
  await Promise.race([untilListening(port), failed]);
  return { ...contestant(child), address: `127.0.0.1:${port}` };
}

function serving({ blobs, tls }: Extract<NginxRole, { blobs: string }>, home: string): string {
  const secured = `ssl_certificate ${home}/cert.pem; ssl_certificate_key ${home}/key.pem; ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites ${CIPHER}; ssl_buffer_size 16k;`;
  return `${tls ? secured : ''} location ~ "^/v2/.*/blobs/sha256:([0-9a-f]{64})$" { alias ${blobs}/$1; }`;
}

function passing({ tls }: Extract<NginxRole, { upstream: Nginx }>): string {
  return `location / {
      proxy_pass ${tls ? 'https' : 'http'}://holder; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; ${tls ? 'proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;' : ''}
    }`;
}
