import type { ClassifierTensor } from '@espalier/shared/manifest/classifier-manifest'
import type { StoredTensor } from './split-tensors.ts'

export interface NamedTensors {
  readonly tensors: Readonly<Record<string, ClassifierTensor>>
  /** Variant id -> names of the tensors that it refers to, in order. */
  readonly namesOf: ReadonlyMap<string, readonly string[]>
}

const identityOf = ({ sha256, dtype, shape }: StoredTensor): string => `${sha256} ${dtype} ${shape.join('x')}`

/**
 * Give each different tensor of a family one name: that of the first variant that has it, with the variant's id
 * behind it where another tensor has that name already.
 *
 * @param variants Id -> tensors by the names that its graph gives them.
 */
export function nameTensors(variants: ReadonlyMap<string, ReadonlyMap<string, StoredTensor>>): NamedTensors {
  const tensors = new Map<string, ClassifierTensor>()
  const known = new Map<string, string>()
  const nameFor = (wanted: string, id: string, tensor: StoredTensor): string => {
    const identity = identityOf(tensor)
    let name = known.get(identity) ?? wanted
    for (let i = 1; !known.has(identity) && tensors.has(name); i++) name = `${wanted}@${id}${i === 1 ? '' : `-${i}`}`
    const { sha256, dtype, shape, data } = tensor
    tensors.set(name, { sha256, bytes: data.length, dtype, shape: [...shape] })
    known.set(identity, name)
    return name
  }
  const namesOf = new Map(
    [...variants].map(([id, own]) => {
      const names = [...own].map(([wanted, tensor]) => nameFor(wanted, id, tensor))
      return [id, [...new Set(names)].sort()] as const
    }),
  )
  return { tensors: Object.fromEntries(tensors), namesOf }
}
