/** Asks the API server about a token (authentication.k8s.io/v1 TokenReview). */
export interface TokenReviewer {
  /** @throws whatever keeps the question from being answered; a token that is no good is an answer */
  review(token: string, audiences: readonly string[]): Promise<TokenReviewStatus>;
}

/** The status of a TokenReview; everything the API server may leave out is optional. */
export interface TokenReviewStatus {
  readonly authenticated?: boolean;
  readonly audiences?: readonly string[];
  readonly user?: {
    readonly username?: string;
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
}
