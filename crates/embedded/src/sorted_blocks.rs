//! An ordered list that knows positions: blocks of a few hundred slots with Fenwick counts over them.
//!
//! The list orders *slots* (places in the owner's table) by a key that the owner looks up, so that it costs four to
//! eight bytes an entry: the key is stored once, in the table. Every operation takes `key_of`; a slot's key must not
//! change while the slot is in the list.

use std::iter;

/// A place in the owner's table.
pub(crate) type Slot = u32;

/// A block is split before it grows beyond this. 512 slots are 2 KiB: one insertion moves half of that at most.
const BLOCK_MAX: usize = 512;

/// A block that shrinks below this is joined with a neighbour, if the two leave room.
const BLOCK_MIN: usize = BLOCK_MAX / 4;

/// How full blocks are built and joined: with room, so that the next insertions do not split them at once.
const BLOCK_FILL: usize = BLOCK_MAX / 4 * 3;

/// Slots in strictly ascending order of their keys.
#[derive(Debug)]
pub(crate) struct SortedBlocks<K> {
    /// None is empty; every key of a block is below every key of the next.
    blocks: Vec<Block<K>>,
    /// The lengths of the blocks.
    counts: Fenwick,
}

#[derive(Debug)]
struct Block<K> {
    /// The key of the last slot, kept beside so that finding the block touches no slot.
    last: K,
    slots: Vec<Slot>,
}

impl<K> Default for SortedBlocks<K> {
    fn default() -> Self {
        Self { blocks: Vec::new(), counts: Fenwick::default() }
    }
}

impl<K: Ord + Copy> SortedBlocks<K> {
    /// From slots with their keys, already in ascending order.
    pub(crate) fn from_sorted(entries: &[(K, Slot)]) -> Self {
        let block = |chunk: &[(K, Slot)]| {
            chunk.last().map(|(last, _)| Block { last: *last, slots: chunk.iter().map(|(_, slot)| *slot).collect() })
        };
        let mut list = Self { blocks: entries.chunks(BLOCK_FILL).filter_map(block).collect(), ..Self::default() };
        list.recount();
        list
    }

    /// Adds a slot whose key is not in the list.
    pub(crate) fn insert(&mut self, key: K, slot: Slot, key_of: impl Fn(Slot) -> K) {
        if self.blocks.is_empty() {
            self.blocks.push(Block { last: key, slots: vec![slot] });
            return self.recount();
        }
        // Behind everything: the last block takes it.
        let mut at = self.block_of(key).min(self.blocks.len() - 1);
        if self.blocks[at].slots.len() >= BLOCK_MAX {
            self.split(at, &key_of);
            at += usize::from(self.blocks[at].last < key);
        }
        let block = &mut self.blocks[at];
        let index = block.slots.partition_point(|s| key_of(*s) < key);
        block.slots.insert(index, slot);
        block.last = block.last.max(key);
        self.counts.increase(at);
    }

    /// Takes the slot with this key out. `false`: there is none.
    pub(crate) fn remove(&mut self, key: K, key_of: impl Fn(Slot) -> K) -> bool {
        let Some((at, index)) = self.find(key, &key_of) else { return false };
        let block = &mut self.blocks[at];
        block.slots.remove(index);
        match block.slots.last() {
            Some(last) => {
                block.last = key_of(*last);
                self.counts.decrease(at);
                if self.blocks[at].slots.len() < BLOCK_MIN {
                    self.join(at);
                }
            }
            None => {
                self.blocks.remove(at);
                self.recount();
            }
        }
        true
    }

    /// How many keys are below this one. `None`: it is not in the list.
    pub(crate) fn position(&self, key: K, key_of: impl Fn(Slot) -> K) -> Option<usize> {
        self.find(key, &key_of).map(|(at, index)| self.counts.sum_before(at) + index)
    }

    /// The slots from a position on, in order; none when the list is shorter.
    pub(crate) fn iter_from(&self, position: usize) -> impl Iterator<Item = Slot> + '_ {
        let (at, offset) = self.counts.locate(position);
        let first = self.blocks.get(at).and_then(|block| block.slots.get(offset..)).unwrap_or_default();
        let rest = self.blocks.iter().skip(at + 1).map(|block| block.slots.as_slice());
        iter::once(first).chain(rest).flatten().copied()
    }

    /// The first block whose last key is not below `key`; past the end when all are.
    fn block_of(&self, key: K) -> usize {
        self.blocks.partition_point(|block| block.last < key)
    }

    fn find(&self, key: K, key_of: &impl Fn(Slot) -> K) -> Option<(usize, usize)> {
        let at = self.block_of(key);
        let slots = &self.blocks.get(at)?.slots;
        let index = slots.partition_point(|s| key_of(*s) < key);
        (slots.get(index).is_some_and(|s| key_of(*s) == key)).then_some((at, index))
    }

    fn split(&mut self, at: usize, key_of: &impl Fn(Slot) -> K) {
        let block = &mut self.blocks[at];
        let tail = block.slots.split_off(block.slots.len() / 2);
        let Some(last) = block.slots.last() else { unreachable!("half of a full block is not empty") };
        let tail_last = std::mem::replace(&mut block.last, key_of(*last));
        self.blocks.insert(at + 1, Block { last: tail_last, slots: tail });
        self.recount();
    }

    /// Joins a small block with a neighbour where the two leave room; small blocks between large ones stay.
    fn join(&mut self, at: usize) {
        let fits = |left: usize| matches!(self.blocks.get(left..left + 2), Some([a, b]) if a.slots.len() + b.slots.len() <= BLOCK_FILL);
        let left = if fits(at) {
            at
        } else if at > 0 && fits(at - 1) {
            at - 1
        } else {
            return;
        };
        let right = self.blocks.remove(left + 1);
        self.blocks[left].slots.extend(right.slots);
        self.blocks[left].last = right.last;
        self.recount();
    }

    /// Blocks come and go once in hundreds of operations; then the counts are made anew.
    fn recount(&mut self) {
        self.counts = Fenwick::of(self.blocks.iter().map(|block| block.slots.len()));
    }
}

/// Counts with prefix sums in O(log n) (Fenwick 1994). Node `i` (from 1) holds the sum of the `i & -i` counts up to it.
#[derive(Debug, Default)]
struct Fenwick {
    nodes: Vec<usize>,
}

impl Fenwick {
    fn of(counts: impl Iterator<Item = usize>) -> Self {
        let mut nodes: Vec<usize> = iter::once(0).chain(counts).collect();
        for i in 1..nodes.len() {
            let parent = i + (i & i.wrapping_neg());
            if parent < nodes.len() {
                nodes[parent] += nodes[i];
            }
        }
        Self { nodes }
    }

    fn increase(&mut self, index: usize) {
        let mut i = index + 1;
        while i < self.nodes.len() {
            self.nodes[i] += 1;
            i += i & i.wrapping_neg();
        }
    }

    fn decrease(&mut self, index: usize) {
        let mut i = index + 1;
        while i < self.nodes.len() {
            self.nodes[i] -= 1;
            i += i & i.wrapping_neg();
        }
    }

    /// The sum of the counts before `index`.
    fn sum_before(&self, index: usize) -> usize {
        let (mut i, mut sum) = (index, 0);
        while i > 0 {
            sum += self.nodes[i];
            i -= i & i.wrapping_neg();
        }
        sum
    }

    /// Which count a position falls into, and how far; past the end when it is not below the total.
    fn locate(&self, position: usize) -> (usize, usize) {
        let (mut i, mut left) = (0, position);
        let mut step = self.nodes.len().next_power_of_two();
        while step > 0 {
            if let Some(count) = self.nodes.get(i + step)
                && *count <= left
            {
                i += step;
                left -= count;
            }
            step /= 2;
        }
        (i, left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(u16),
        /// Many at once, so that blocks split and join within a few steps.
        InsertRun(u16, u16),
        RemoveRun(u16, u16),
        Rebuild,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u16>().prop_map(Step::Insert),
            any::<u16>().prop_map(Step::Remove),
            (any::<u16>(), 1..2000u16).prop_map(|(from, n)| Step::InsertRun(from, n)),
            (any::<u16>(), 1..4000u16).prop_map(|(from, n)| Step::RemoveRun(from, n)),
            Just(Step::Rebuild),
        ]
    }

    /// Keys whose order is not that of their slots: the list must ask the owner.
    fn key_of(slot: Slot) -> u32 {
        slot.wrapping_mul(0x9E37_79B1)
    }

    fn insert(list: &mut SortedBlocks<u32>, model: &mut BTreeMap<u32, Slot>, slot: Slot) {
        if model.insert(key_of(slot), slot).is_none() {
            list.insert(key_of(slot), slot, key_of);
        }
    }

    fn remove(list: &mut SortedBlocks<u32>, model: &mut BTreeMap<u32, Slot>, slot: Slot) {
        assert_eq!(list.remove(key_of(slot), key_of), model.remove(&key_of(slot)).is_some());
    }

    fn check(list: &SortedBlocks<u32>, model: &BTreeMap<u32, Slot>) {
        let sorted: Vec<Slot> = model.values().copied().collect();
        assert_eq!(list.iter_from(0).collect::<Vec<_>>(), sorted);
        for (at, slot) in sorted.iter().enumerate().step_by(37) {
            assert_eq!(list.position(key_of(*slot), key_of), Some(at));
            assert_eq!(list.iter_from(at).next(), Some(*slot));
        }
        assert_eq!(list.iter_from(sorted.len()).next(), None);
        assert_eq!(list.iter_from(sorted.len() + 1000).next(), None);
        assert!(list.blocks.iter().all(|b| (1..=BLOCK_MAX).contains(&b.slots.len())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn behaves_like_a_sorted_map(steps in proptest::collection::vec(step(), 1..40)) {
            let (mut list, mut model) = (SortedBlocks::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(slot) => insert(&mut list, &mut model, slot.into()),
                    Step::Remove(slot) => remove(&mut list, &mut model, slot.into()),
                    Step::InsertRun(from, n) => {
                        for slot in from..from.saturating_add(n) {
                            insert(&mut list, &mut model, slot.into());
                        }
                    }
                    Step::RemoveRun(from, n) => {
                        for slot in from..from.saturating_add(n) {
                            remove(&mut list, &mut model, slot.into());
                        }
                    }
                    Step::Rebuild => {
                        let sorted: Vec<_> = model.iter().map(|(key, slot)| (*key, *slot)).collect();
                        list = SortedBlocks::from_sorted(&sorted);
                    }
                }
                check(&list, &model);
            }
        }
    }

    #[test]
    fn small_blocks_are_joined_again() {
        let (mut list, mut model) = (SortedBlocks::default(), BTreeMap::new());
        for slot in 0..100_000 {
            insert(&mut list, &mut model, slot);
        }
        for slot in (0..100_000).filter(|slot| slot % 100 != 0) {
            remove(&mut list, &mut model, slot);
        }
        check(&list, &model);
        assert!(list.blocks.len() <= 1000 / BLOCK_MIN + 2, "{} blocks for 1000 slots", list.blocks.len());
    }
}
