from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.search.diffusion import DiffusionConfig
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.refinement import RefinementConfig
from experiments import published, settings
from tests.experiments import drivers

IMAGENET = networks.get("vgg16_cam")


class SettingsTest(parameterized.TestCase):
    """These tests parse flags as on a command line, for an ImageNet network whose weights need not exist."""

    def _settings(self, *arguments, network=IMAGENET):
        values = drivers.parse("experiments.ablation", *arguments)
        return settings.from_flags(values, network.spec, smoke=values.smoke)

    def test_defaults(self):
        actual = self._settings()
        expected = settings.SweepConfig(
            nc=(1, 2, 4, 8, 16, 32, 64),
            npca=(1, 32),
            qe=(0,),
            rerank=(0,),
            alpha=None,
            augment=0,
            aggregations=("ofa", "ona", "predefined"),
            predefined_classes=(),
        )
        self.assertEqual(actual, expected)
        self.assertEqual(actual.configs(), [SearchConfig()])

    def test_numbers_ascend_and_come_once(self):
        actual = self._settings("--nc=64,1,8,8", "--npca=2, 1", "--qe=10,0,10", "--rerank=100,0")
        self.assertEqual((actual.nc, actual.npca, actual.qe, actual.rerank), ((1, 8, 64), (1, 2), (0, 10), (0, 100)))

    def test_configurations_are_every_expansion_with_every_re_ranking(self):
        actual = self._settings("--qe=0,10", "--rerank=0,100").configs()
        expected = [SearchConfig(rerank=rerank, expansion=qe) for rerank in (0, 100) for qe in (0, 10)]
        self.assertEqual(actual, expected)

    def test_other_expansions(self):
        self.assertEqual(self._settings().expansion(), "")
        actual = self._settings("--qe=0,10", "--alpha=3", "--augment=5")
        self.assertEqual(actual.expansion(), ", alpha 3, database expanded by 5")
        self.assertEqual((actual.alpha, actual.augment), (3.0, 5))
        weighted = SearchConfig(expansion=10, alpha=3.0, add_query=True)
        self.assertEqual(actual.configs(), [SearchConfig(), weighted])  # alpha changes nothing without expansion
        self.assertEqual(self._settings("--alpha=0", "--augment=0").expansion(), ", alpha 0")

    def test_second_looks_and_neighbourhoods(self):
        actual = self._settings("--online=0,50", "--reciprocal=100,0", "--diffusion=0,30", "--qe=5")
        neighbourhoods = (None, ReciprocalConfig(images=100), DiffusionConfig(images=30))
        self.assertEqual(actual.neighbourhoods, neighbourhoods)
        expected = [
            SearchConfig(online=online, expansion=5, neighbourhood=neighbourhood)
            for online in (0, 50)
            for neighbourhood in neighbourhoods
        ]
        self.assertEqual(actual.configs(), expected)

    def test_parameters_of_neighbourhoods(self):
        actual = self._settings("--reciprocal=50", "--reciprocal_k1=7", "--reciprocal_original_weight=0.5")
        self.assertEqual(actual.neighbourhoods, (ReciprocalConfig(50, k1=7, original_weight=0.5),))
        flags = "--diffusion=9", "--diffusion_alpha=.5", "--diffusion_query_neighbours=2", "--diffusion_neighbours=4"
        self.assertEqual(self._settings(*flags).neighbourhoods, (DiffusionConfig(9, 4, 2, alpha=0.5),))
        actual = self._settings("--refinement=400,0", "--refinement_beta=1", "--refinement_neighbours=3")
        self.assertEqual(actual.neighbourhoods, (None, RefinementConfig(400, 3, 1.0)))

    def test_smoke_is_short_unless_more_is_asked_for(self):
        actual = self._settings("--smoke")
        self.assertEqual((actual.nc, actual.npca), ((1, 4), (2,)))
        actual = self._settings("--smoke", "--nc=1,2,8", "--npca=3")
        self.assertEqual((actual.nc, actual.npca), ((1, 2, 8), (3,)))

    def test_aggregations_in_their_order(self):
        self.assertEqual(self._settings("--aggregation=ona,ofa,ona").aggregations, ("ona", "ofa"))

    def test_predefined_classes(self):
        actual = self._settings("--predefined_classes=church,538,Vault,church", "--nc=3", "--npca=1")
        self.assertEqual(actual.predefined_classes, (497, 538, 884))
        actual = self._settings("--predefined_classes=paper", "--nc=16", "--npca=1")
        self.assertEqual(actual.predefined_classes, published.PREDEFINED_CLASSES)

    def test_a_short_list_is_enough_where_nothing_takes_it(self):
        self.assertEqual(self._settings("--predefined_classes=church", "--aggregation=ofa").predefined_classes, (497,))

    @parameterized.parameters(
        (["--nc=0"], "--nc: '0' is not a whole number, 1 to 1000"),
        (["--nc=1001"], "--nc: '1001' is not a whole number, 1 to 1000"),
        (["--nc=1,eight"], "--nc: 'eight' is not a whole number"),
        (["--nc=1.5"], "--nc: '1.5' is not"),
        (["--nc=²"], "--nc: '²' is not"),
        (["--nc="], "--nc needs at least one number"),
        (["--npca=0"], "--npca: '0' is not a whole number, 1 to 1000"),
        (["--npca="], "--npca needs at least one number"),
        (["--qe=-1"], "--qe: '-1' is not a whole number, at least 0"),
        (["--qe="], "--qe needs at least one number"),
        (["--rerank=-100"], "--rerank: '-100' is not a whole number, at least 0"),
        (["--rerank=all"], "--rerank: 'all' is not"),
        (["--online=-1"], "--online: '-1' is not a whole number, at least 0"),
        (["--online=5", "--aggregation=ona"], "--online has no effect without --aggregation=ofa"),
        (["--reciprocal="], "--reciprocal needs at least one number"),
        (["--diffusion=some"], "--diffusion: 'some' is not a whole number, at least 0"),
        (["--reciprocal_k1=5", "--diffusion=5"], "--reciprocal_k1 has no effect without --reciprocal"),
        (["--reciprocal=5", "--reciprocal_k2=0"], "--reciprocal_k2 must be at least 1, not 0"),
        (["--diffusion=5", "--diffusion_alpha=1"], "--diffusion_alpha must lie between 0 and .999, not 1.0"),
        (["--refinement=5", "--refinement_beta=-1"], "--refinement_beta must be 0 or more, not -1.0"),
        (["--aggregation=offline,ofa"], "--aggregation: unknown offline; known: ofa, ona, predefined"),
        (["--predefined_classes=church,dome", "--nc=3", "--npca=1"], "--predefined_classes lists 2 classes; --nc and"),
        (["--predefined_classes=church,dome", "--nc=1", "--npca=3"], "--predefined_classes lists 2 classes; --nc and"),
    )
    def test_errors_name_the_flag(self, arguments, message):
        with self.assertRaises(ValueError) as caught:
            self._settings(*arguments)
        self.assertIn(message, str(caught.exception))

    @parameterized.parameters("cathedral", "1000", "crane")
    def test_a_class_there_is_not_names_the_flag(self, name):
        with self.assertRaisesRegex(ValueError, "--predefined_classes"):
            self._settings(f"--predefined_classes={name}")

    def test_the_papers_classes_of_another_network(self):
        other = IMAGENET.with_spec(class_names=("a", "b"))
        with self.assertRaisesRegex(
            ValueError, "--predefined_classes=paper are classes of ImageNet; vgg16_cam has other"
        ):
            self._settings("--predefined_classes=paper", network=other)


if __name__ == "__main__":
    absltest.main()
