/** What a pod's agent, the mirror of its node, and the webhook that brings them together have to agree on. */

/** Whom the token is for: one for the apiserver is none for Miroir, nor the other way round. */
export const POD_TOKEN_AUDIENCE = 'miroir.dev';
/** In small letters, as Node has them. `Authorization` is for what the client proves to a registry. */
export const POD_TOKEN_HEADER = 'miroir-pod-token';
