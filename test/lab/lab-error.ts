export type LabErrorCode =
  | 'ERR_LAB_COMMAND_FAILED'
  | 'ERR_LAB_NAME_TAKEN'
  | 'ERR_LAB_NOT_FOUND'
  | 'ERR_LAB_PROGRAM_ENDED'
  | 'ERR_LAB_REQUIREMENT_MISSING'
  | 'ERR_LAB_REGISTRY_REFUSED'
  | 'ERR_LAB_WISH_INVALID';

/** What went wrong in the lab itself, said so that a person knows what to do about it. */
export class LabError extends Error {
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'LabError';
    this.code = code;
  }
}
