"""Every family of models, shipped and of one's own."""

import pytest

import autobuild as ab
from autobuild.models.gp_family import ProcessMember
from autobuild.registry import FAMILIES
from autobuild.testing import FamilyConformance


class TestShipped(FamilyConformance):
    options = {"config": ab.FitConfig(epochs=40)}

    @pytest.fixture(params=FAMILIES)
    def family(self, request):
        return request.param

    def test_it_is_the_only_member(self, family, model):
        assert model.family == family
        assert family == "graph" or model.weights == {family: 1.0}
        assert (model.draw(model.training_archs[:3], 4, 0) is None) == (not issubclass(FAMILIES[family], ProcessMember))
