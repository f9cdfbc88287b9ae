use super::broken::{Broken, Flaw};
use super::*;

mod solo {
    use crate::conformance::SoloBuilder;
    consensus_conformance!(SoloBuilder);
}

mod four_members {
    use crate::conformance::FixedLeaderBuilder;
    consensus_conformance!(FixedLeaderBuilder(4));
}

mod a_quorum_of_one {
    use crate::conformance::FixedLeaderBuilder;
    consensus_conformance!(FixedLeaderBuilder(1));
}

#[test]
fn every_flaw_is_noticed() {
    for flaw in Flaw::ALL {
        let failure =
            run_one(&Broken(flaw), flaw.noticed_by()).expect_err(&format!("{flaw:?} was not noticed"));
        println!("{flaw:?}: {failure}");
    }
}

/// Otherwise the test above could fail everything and prove nothing.
#[test]
fn without_a_flaw_nothing_is_noticed() {
    #[derive(Debug)]
    struct Whole;
    impl Builder for Whole {
        fn factory(&self) -> Arc<dyn ConsensusFactory> {
            factory::<broken::Faulty>()
        }
        fn members(&self) -> u32 {
            1
        }
    }
    assert_eq!(run_all(&Whole), []);
}
