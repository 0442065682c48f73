import { z } from 'zod'

/** Names of families and variants: part of configuration ids, so no slash. */
export const familyNameSchema = z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/)

/** What every manifest says of itself, whatever its task. */
export const headShape = {
  format: z.literal('espalier-family/1'),
  family: familyNameSchema,
  version: z.string(),
  licence: z.string(),
  description: z.string(),
}
