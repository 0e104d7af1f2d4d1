from django.db import migrations, models


def add_accounts(apps, schema_editor):
    account = apps.get_model("shop", "Account").objects.using(schema_editor.connection.alias)
    for name in ["anna", "bob"]:
        account.create(name=name)


def remove_accounts(apps, schema_editor):
    apps.get_model("shop", "Account").objects.using(schema_editor.connection.alias).all().delete()


class Migration(migrations.Migration):
    """Django makes these tables anew and copies their rows."""

    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RunPython(add_accounts, remove_accounts),
        migrations.AlterField("Account", "name", models.CharField(max_length=20, unique=True)),
        migrations.AddField("Note", "number", models.IntegerField(default=0)),
        migrations.AlterField("Note", "writer", models.CharField(max_length=20, db_index=True)),
    ]
