import { exportJWK, generateKeyPair, SignJWT } from 'jose';

export interface TokenWish {
  /** The node that the token's pod runs on; undefined for a token of no pod. */
  readonly node?: string | undefined;
  readonly audience?: string;
  readonly issuer?: string;
  /** Seconds since 1970. */
  readonly expires?: number;
}

/** Somebody who signs tokens of pods as an apiserver does. */
export interface PodTokens {
  /** What the webhook puts into the ConfigMap. */
  readonly keysFile: string;
  sign(wish?: TokenWish): Promise<string>;
}

const ISSUER = 'https://kubernetes.default.svc.cluster.local';

/** With a key of its own, and the claims of https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/. */
export async function createPodTokens(): Promise<PodTokens> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: 'lab', use: 'sig', alg: 'RS256' };
  return {
    keysFile: JSON.stringify({ issuer: ISSUER, keys: [jwk] }),
    sign: ({
      audience = 'miroir.dev',
      issuer = ISSUER,
      expires = Math.floor(Date.now() / 1000) + 600,
      ...wish
    } = {}) => {
      const node = 'node' in wish ? wish.node : 'n1';
      const serviceaccount = { name: 'default', uid: 'b7e9' };
      const bound = node === undefined ? {} : { node: { name: node, uid: 'c1' }, pod: { name: 'builder', uid: 'd2' } };
      return new SignJWT({ 'kubernetes.io': { namespace: 'team', serviceaccount, ...bound } })
        .setProtectedHeader({ alg: 'RS256', kid: 'lab' })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject('system:serviceaccount:team:default')
        .setIssuedAt()
        .setExpirationTime(expires)
        .sign(privateKey);
    },
  };
}
